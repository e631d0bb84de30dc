"""The contract: what is assumed of GOLD, JDP and Globus, one row for each assumption. Pure.

Nobody could try the daemon on the real services before its users do. So each assumption says where it is read, how
it shows when it is wrong, and what is done then. docs/contract.md is made from this table, and
`jgi_stager.steps.first_contact` notes what was seen to hold and what was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jgi_stager.failures import Service

Bend = Mapping[str, Any]
"""Switches of the simulator, with values for which an assumption is wrong."""


@dataclass(frozen=True)
class Assumption:
    """One thing that is taken for granted of a service."""

    id: str
    service: Service
    assumed: str
    read_in: str
    """The function that meets it, with its module below the package."""
    shows: str
    """How it shows when it is wrong."""
    then: str
    """What is done then."""
    bends: tuple[Bend, ...] = ()
    """How the simulator bends it: each alone."""
    unbent: str = ""
    """Why the simulator does not bend it, where it does not."""
    format: bool = False
    """Whether it is about the form of what a service gives."""


def _fault(kind: str, **values: Any) -> Bend:
    return {"world_faults": [{"kind": kind, **values}]}


_LATER = "not yet"

CONTRACT: tuple[Assumption, ...] = (
    Assumption(
        id="gold.one_page",
        service=Service.GOLD,
        assumed="GOLD answers with all analysis projects of a proposal at once, without pages.",
        read_in="clients.gold.Gold.analysis_projects_of_proposal",
        shows="The answer names a next page.",
        then="Every page is read. A list that goes on and cannot be followed is not used; people are told.",
        bends=(
            {"gold_pages": "next"},
            {"gold_pages": "relative"},
            {"gold_pages": "link"},
            {"gold_pages": "elsewhere"},
            {"gold_pages": "circle"},
        ),
    ),
    Assumption(
        id="gold.complete",
        service=Service.GOLD,
        assumed="GOLD lists every sequencing project of the proposal that NMDC knows.",
        read_in="steps.discover.run",
        shows="NMDC has records of sequencing projects that no analysis project of GOLD's answer is made from.",
        then="What GOLD lists is staged; the first mail and status name what is missing.",
        bends=({"gold_hides_projects": 1},),
    ),
    Assumption(
        id="gold.form",
        service=Service.GOLD,
        assumed="GOLD answers with a JSON list of objects that have apGoldId, apType and itsApId.",
        read_in="clients.gold.Gold.analysis_projects_of_proposal",
        shows="The answer is something else, or no row can be used.",
        then="The rows of an object are used and told. Else the project waits, and people are told what came.",
        bends=({"gold_form": "data"}, {"gold_form": "keys"}, {"gold_form": "numbers"}),
    ),
    Assumption(
        id="jdp.request_id",
        service=Service.JDP,
        assumed="An accepted request is answered with status 200 and its request_id.",
        read_in="clients.jdp.parse_accepted",
        shows="The answer has status 200 and no number.",
        then="The number is taken from request_status_url. Without one the request counts as received, and "
        "nothing else is asked for until its delivery is found or a person says what became of it.",
        bends=({"jdp_request_id": "url"}, {"jdp_request_id": "none"}),
        format=True,
    ),
    Assumption(
        id="jdp.request_id_unique",
        service=Service.JDP,
        assumed="Each request gets a number of its own.",
        read_in="steps.jdp_answers.check_number",
        shows="The number is that of another request of ours.",
        then="It is taken for no number: as above.",
        bends=({"jdp_request_id": "repeated"},),
    ),
    Assumption(
        id="jdp.status_words",
        service=Service.JDP,
        assumed="A request is new, pending, staging, ready or expired, in any case of letters.",
        read_in="steps.poll_requests.poll",
        shows="JDP calls a request by another word.",
        then="If its delivery lies at JGI with its manifest, it is used; else the request is waited on. People "
        "are asked what the word means. Nothing is asked for again for it by itself.",
        bends=(_fault("request_status_word", word="Quantum Flux"),),
        format=True,
    ),
    Assumption(
        id="jdp.delivers_updated",
        service=Service.JDP,
        assumed="Files that JDP has on disk already (updated_count) are delivered with the others.",
        read_in="steps.manifests.read",
        shows="The delivery lacks exactly as many files as were on disk.",
        then="These files wait for a person; the others go on.",
        bends=({"jdp_skips_updated": True},),
    ),
    Assumption(
        id="jdp.login_page",
        service=Service.JDP,
        assumed="A session token that has ended is answered with 401 or 403.",
        read_in="clients.wording.page_of",
        shows="A page for signing in comes with status 200.",
        then="The token has ended, and people are told. Of a POST nothing was asked.",
        bends=({"jdp_login_page": True, "jdp_token_revoked": True},),
    ),
    Assumption(
        id="jdp.batch",
        service=Service.JDP,
        assumed="One request may hold 750 ids.",
        read_in="clients.wording.limit_in",
        shows="JDP refuses a request for the number of its ids.",
        then="The limit that it names, or half, holds from then on; people are told.",
        bends=({"jdp_max_ids": 2}, {"jdp_max_ids": 2, "limit_texts": "plain"}),
    ),
    Assumption(
        id="jdp.window",
        service=Service.JDP,
        assumed="10 TB may be asked for in any 24 hours; of what is beyond, nothing is, and JDP says so.",
        read_in="clients.wording.limit_in",
        shows="A request within our count of the window is refused for its amount.",
        then="Nothing is asked for until bytes come free; a lower limit holds from then on, and people are told.",
        bends=({"jdp_window_bytes": 4000}, {"jdp_counted_bytes": 10**13, "limit_texts": "plain"}),
    ),
    Assumption(
        id="jdp.unknown_ids",
        service=Service.JDP,
        assumed="Ids that JDP does not know are left out of a request without a word.",
        read_in="steps.poll_requests.poll",
        shows="The whole request is refused.",
        then="Its ids are asked for again in ever smaller groups; the one that is refused alone fails.",
        bends=({"unknown_ids": "404"},),
    ),
    Assumption(
        id="jdp.date",
        service=Service.JDP,
        assumed="The Date of JDP's answers is the clock by which it counts the quota.",
        read_in="steps.jdp_clock.planning",
        shows="The Date is missing, makes no sense, or is far from this machine's clock.",
        then="The wider of the times that are possible counts, or nothing is asked until the clocks agree.",
        bends=({"dates": False}, {"jdp_date": "yesterday"}, {"jdp_date_ahead_hours": 30.0}),
    ),
    Assumption(
        id="jdp.expiry",
        service=Service.JDP,
        assumed="A delivery stays until its expiration_date, two weeks after it was made.",
        read_in="steps.poll_requests.housekeeping",
        shows="A delivery is gone before it was fetched.",
        then="What was not fetched is asked for again; people are told when that goes on.",
        bends=(_fault("request_expires_early", count=1),),
    ),
    Assumption(
        id="jdp.file_status",
        service=Service.JDP,
        assumed="The status of a file is evidence, and no word of it is needed.",
        read_in="steps.reconcile.is_explained",
        shows="A file has a status that nobody knows.",
        then="The word is taken for no evidence.",
        bends=(_fault("file_status_word"),),
    ),
    Assumption(
        id="jdp.download",
        service=Service.DOWNLOADS,
        assumed="With staging.method = https: what a request restored is given out by its id, from any byte on.",
        read_in="steps.downloads.run",
        shows="What comes has another size or md5 than JDP gives, or is no file.",
        then="It never gets its name. It is fetched once more, and asked for again if that does not help; then it "
        "fails with both findings. Without parts a file that is cut off begins anew.",
        unbent="only a daemon that downloads asks for files; its own tests spoil the answers",
    ),
    Assumption(
        id="jdp.download_waits",
        service=Service.DOWNLOADS,
        assumed="A file that is not on disk is answered with 409, and only such a one.",
        read_in="clients.downloads.Downloads.opened",
        shows="JDP answers 409 though its request is ready.",
        then="It is tried again later, JDP is asked about the request, and people are told after three hours.",
        unbent="only a daemon that downloads asks for files; its own tests do so too early",
    ),
    Assumption(
        id="delivery.directory",
        service=Service.GLOBUS,
        assumed="The delivery of request N lies in the directory R<N> below the delivery folder.",
        read_in="steps.deliveries.locate",
        shows="There is no such directory though JDP calls the request ready.",
        then=(
            "Directories whose names contain the number are looked into; one whose manifest holds the ids is used,"
            " and told. Otherwise it is waited for, and people are told what was found."
        ),
        bends=({"delivery_directory": "year"},),
        format=True,
    ),
    Assumption(
        id="delivery.manifest_name",
        service=Service.GLOBUS,
        assumed="A delivery has one manifest, Globus_Download_<N>_File_Manifest.csv.",
        read_in="steps.deliveries.list_delivery",
        shows="The delivery has no file of that name, or several manifests.",
        then="All *Manifest*.csv of it are read together; without any, people are told of the other tables there.",
        bends=({"manifest_files": "two"}, {"manifest_files": "renamed"}),
        format=True,
    ),
    Assumption(
        id="manifest.columns",
        service=Service.JDP,
        assumed="A manifest is a CSV whose header has the eight names that are known, in their order.",
        read_in="manifests.parse_manifest",
        shows="The header is another one.",
        then=(
            "Columns are found by their names. Where one that is needed is not there, the manifest is not used,"
            " fetched again when it changes or once a day, and people are told of both headers."
        ),
        bends=(
            {"manifest_columns": "reordered"},
            {"manifest_columns": "extra"},
            {"manifest_columns": "renamed"},
            {"manifest_columns": "unknown"},
            _fault("manifest_bad_header"),
        ),
        format=True,
    ),
    Assumption(
        id="manifest.ids",
        service=Service.JDP,
        assumed="The ids of a manifest are those that were asked for, in lower case.",
        read_in="manifests.compare",
        shows="The manifest has other ids, or none that can be read.",
        then="Ids are compared in lower case; of others people are told how the manifest differs.",
        bends=({"ids_in_capitals": True},),
        format=True,
    ),
    Assumption(
        id="manifest.whole",
        service=Service.JDP,
        assumed="A manifest is whole soon after its request is ready, and lists every file that was delivered.",
        read_in="steps.manifests.read",
        shows="Lines or files are missing, or the last line is torn.",
        then="People are told after three hours. It is read again until the patience is over, and then used as "
        "far as it goes. What it does not list is used where it lies in the delivery under its name and with its "
        "size; what is not there is asked for again, once; where nobody can tell a person decides.",
        bends=(
            _fault("manifest_short"),
            _fault("manifest_torn"),
            _fault("manifest_extra"),
            _fault("manifest_bad_encoding"),
            _fault("delivery_lacks", count=1),
        ),
    ),
    Assumption(
        id="delivery.names",
        service=Service.GLOBUS,
        assumed="The delivered files have the names that the manifest gives them.",
        read_in="steps.verify.check",
        shows="Globus does not find a file that the manifest names.",
        then=(
            "The only file of that size whose name differs in blanks, _, -, %20 or capitals is used, and told."
            " If there is none the file is asked for again, once; if there are several a person decides."
        ),
        bends=({"delivered_names": "underscore"},),
        format=True,
    ),
    Assumption(
        id="delivery.content",
        service=Service.GLOBUS,
        assumed="What arrives has the size and the md5 that JDP and the manifest give.",
        read_in="steps.verify.check_file",
        shows="The size or the md5 of a file at the destination is another one.",
        then="It is fetched once more, and asked for again if that does not help; then it fails with both values.",
        bends=(
            _fault("delivery_wrong_content", count=1),
            _fault("delivery_wrong_size", count=1),
            _fault("arrival_wrong_content", count=1),
            _fault("arrival_wrong_size", count=1),
            _fault("directory_incomplete", count=1, seconds=7200.0),
        ),
    ),
    Assumption(
        id="globus.consent",
        service=Service.GLOBUS,
        assumed="The collections need no consent beyond the login.",
        read_in="steps.services.record_failure",
        shows="Globus refuses to list or to submit for want of a consent.",
        then="A client agrees by itself. Else calls of that kind wait, all others go on, and people are told.",
        bends=(
            {"require_data_access": True},
            {"require_data_access": True, "data_access_granted": False},
            {"require_data_access": True, "data_access_granted": False, "data_access_calls": "submit"},
            {
                "require_data_access": True,
                "data_access_granted": False,
                "data_access_of": "jgi",
                "data_access_calls": "ls",
            },
        ),
    ),
    Assumption(
        id="globus.active",
        service=Service.GLOBUS,
        assumed="A task is ACTIVE until it has SUCCEEDED or FAILED; nobody pauses it.",
        read_in="steps.poll_tasks.poll",
        shows="A task is INACTIVE, or in a state that nobody knows.",
        then="The task is kept and asked about; people are told what it carries and whose move it is.",
        bends=(
            _fault("tasks_inactive", count=1, seconds=36_000.0),
            _fault("tasks_paused", count=1, seconds=36_000.0),
            _fault("task_status_word", count=1, seconds=36_000.0),
        ),
    ),
    Assumption(
        id="globus.submission_id",
        service=Service.GLOBUS,
        assumed="A submission id that is sent twice within a day makes one task.",
        read_in="steps.transfers.send",
        shows="Two tasks bear the same label.",
        then="Both end; a file that one of them brought is right, and the other one finds it there.",
        unbent="whether an id is remembered is fixed when the simulator starts (submission_id_hours)",
    ),
)
"""Every assumption, in the order in which a delivery meets them."""

BY_ID: Mapping[str, Assumption] = {row.id: row for row in CONTRACT}


class UnknownAssumptionError(KeyError):
    """Evidence names an assumption that is in no row: a bug."""


def assumption(row: str) -> Assumption:
    """The row of that id. Raises `UnknownAssumptionError`."""
    try:
        return BY_ID[row]
    except KeyError:
        raise UnknownAssumptionError(row) from None

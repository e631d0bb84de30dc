"""The files of a typical metagenome analysis project: names, places, types and sizes, for the generator."""

from __future__ import annotations

from dataclasses import dataclass

from .catalogue import FileShape

IMG_DATA = "IMG Data"
TABLES = "Metagenome Report Tables"
ASSEMBLY = "QC and Genome Assembly"
FILTERED = "Filtered Raw Data"
REPORTS = "Sequencing QC Reports"
KB, MB, GB = 1_000, 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """``name`` may hold {ga}, {taxon} and {unit}; ``size`` in bytes for an analysis project of scale 1."""

    name: str
    size: int
    shape: FileShape
    shared: bool = False
    """The reads and what was made of them belong to every analysis of the same sequencing project."""


def _img(file_type: str, *sizes: tuple[str, int]) -> list[TemplateRow]:
    shape = FileShape((IMG_DATA,), file_type, "img")
    return [TemplateRow(name, size, shape) for name, size in sizes]


def _rqc(location: str, file_type: str, form: str, *sizes: tuple[str, int]) -> list[TemplateRow]:
    shape = FileShape((location,), file_type, "rqc", form)
    return [TemplateRow(name, size, shape, shared=location == FILTERED) for name, size in sizes]


METAGENOME: tuple[TemplateRow, ...] = (
    *_img("tar.gz", ("{taxon}.tar.gz", 2200 * MB)),
    *_img(
        "tab",
        ("{ga}_cath_funfam.gff", 250 * MB),
        ("{ga}_cog.gff", 245 * MB),
        ("{ga}_contig_names_mapping.tsv", 42 * MB),
        ("{ga}_crt.crisprs", 108 * KB),
        ("{ga}_crt.gff", 195 * KB),
        ("{ga}_ec.tsv", 30 * MB),
        ("{ga}_functional_annotation.gff", 400 * MB),
        ("{ga}_gene_phylogeny.tsv", 224 * MB),
        ("{ga}_genemark.gff", 296 * MB),
        ("{ga}_ko.tsv", 44 * MB),
        ("{ga}_ko_ec.gff", 150 * MB),
        ("{ga}_pfam.gff", 208 * MB),
        ("{ga}_prodigal.gff", 430 * MB),
        ("{ga}_product_names.tsv", 112 * MB),
        ("{ga}_proteins.cath_funfam.domtblout", 3000 * MB),
        ("{ga}_proteins.cog.domtblout", 1400 * MB),
        ("{ga}_proteins.img_nr.last.blasttab", 35_900 * MB),
        ("{ga}_proteins.pfam.domtblout", 370 * MB),
        ("{ga}_proteins.smart.domtblout", 120 * MB),
        ("{ga}_proteins.supfam.domtblout", 7400 * MB),
        ("{ga}_proteins.tigrfam.domtblout", 52 * MB),
        ("{ga}_rfam.gff", 1100 * KB),
        ("{ga}_rfam_misc_bind_misc_feature_regulatory.gff", 450 * KB),
        ("{ga}_rfam_ncrna_tmrna.gff", 145 * KB),
        ("{ga}_rfam_rrna.gff", 540 * KB),
        ("{ga}_smart.gff", 58 * MB),
        ("{ga}_structural_annotation.gff", 212 * MB),
        ("{ga}_structural_annotation_stats.tsv", 2500),
        ("{ga}_supfam.gff", 288 * MB),
        ("{ga}_tigrfam.gff", 28 * MB),
        ("{ga}_trna.gff", 1700 * KB),
        ("pairedMapped_sorted.bam.cov", 80 * MB),
    ),
    *_img(
        "fasta",
        ("{ga}_contigs.fna", 837 * MB),
        ("{ga}_genemark_genes.fna", 785 * MB),
        ("{ga}_genemark_proteins.faa", 352 * MB),
        ("{ga}_genes.fna", 884 * MB),
        ("{ga}_prodigal_genes.fna", 840 * MB),
        ("{ga}_prodigal_proteins.faa", 363 * MB),
        ("{ga}_proteins.faa", 417 * MB),
    ),
    *_img(
        "text",
        ("{ga}_crt.out", 183 * KB),
        ("{ga}_prodigal.out", 58 * MB),
        ("{ga}_trnascan_archaeal.out", 917 * KB),
        ("{ga}_trnascan_bacterial.out", 937 * KB),
    ),
    *_img("txt", ("{ga}_combined_logs.txt", 112 * KB), ("{ga}_imgap.info", 411), ("{ga}_rfam.tbl", 1590 * KB)),
    *_img("Shell Script", ("{ga}_sbatch.sh", 1350)),
    *_img("ymal", ("{ga}_annotation_config.yaml", 3015)),
    *_img("json", ("{ga}_structural_annotation_stats.json", 5671)),
    *(
        TemplateRow(
            f"{{taxon}}_{bin_number}.tar.gz",
            size * KB,
            FileShape(("Binning Data",), "compressed tar file", "img"),
        )
        for bin_number, size in (
            (1, 1355),
            (8, 1656),
            (10, 1303),
            (14, 905),
            (17, 1256),
            (19, 919),
            (23, 965),
            (29, 460),
            (30, 1177),
            (32, 444),
            (33, 1881),
            (34, 1716),
            (36, 547),
            (41, 2041),
        )
    ),
    *(
        TemplateRow(name, size, FileShape((TABLES,), "report", "img"))
        for name, size in (
            ("Table_6_-_{ga}_sigs_annotation_parameters.txt", 353),
            ("Table_7_-_{taxon}.metagenome_properties.txt", 910),
            ("Table_8_-_{taxon}.taxonomic_composition.txt", 17_000),
            ("Table_9_-_{taxon}.functional_diversity.txt", 311),
        )
    ),
    *_rqc(
        TABLES,
        "report",
        "text",
        ("Table_3_library_information.txt", 514),
        ("Table_4_sequence_processing.txt", 302),
        ("Table_5_metagenome_statistics.txt", 557),
    ),
    *_rqc(ASSEMBLY, "report", "pdf", ("README.pdf", 27_177)),
    *_rqc(ASSEMBLY, "report", "text", ("README.txt", 4385)),
    *_rqc(ASSEMBLY, "contigs", "fasta", ("assembly.contigs.fasta", 838 * MB)),
    *_rqc(ASSEMBLY, "curated,paired_end_reads", "fastq", ("input.corr.fastq.gz", 4750 * MB)),
    *_rqc(ASSEMBLY, "alignment", "sam", ("pairedMapped.sam.gz", 8270 * MB)),
    *_rqc(ASSEMBLY, "coverage", "cov", ("pairedMapped_sorted.bam.cov", 80 * MB)),
    *_rqc(REPORTS, "report", "pdf", ("rqc-stats.pdf", 290 * KB)),
    *_rqc(FILTERED, "chaff", "tar", ("{unit}.chaff.tar", 18_600 * KB)),
    *_rqc(FILTERED, "fastq,curated", "fastq", ("{unit}.filter-METAGENOME.fastq.gz", 7300 * MB)),
    *_rqc(
        FILTERED,
        "report",
        "text",
        ("{unit}.filter_cmd-METAGENOME.sh", 6151),
        ("{unit}.filtered-methods.txt", 1451),
        ("{unit}.filtered-report.txt", 3645),
    ),
    TemplateRow("{unit}.QC.pdf", 252 * KB, FileShape((REPORTS,), "pdf", "sdm"), shared=True),
    TemplateRow("{unit}.fastq.gz", 9600 * MB, FileShape(("Raw Data",), "fastq.gz,fastq", "sdm"), shared=True),
)
"""85 files. A file type with a comma is a list of types."""

MAPPING: tuple[TemplateRow, ...] = (
    *_rqc("Metatranscriptome Mapping", "alignment", "bam", ("{ga}_self_mapped.bam", 5200 * MB)),
    *_rqc("Metatranscriptome Mapping", "coverage", "cov", ("{ga}_self_mapped.bam.cov", 61 * MB)),
    *_rqc("Metatranscriptome Mapping", "report", "text", ("{ga}_rnaseq_gea.txt", 48 * MB)),
    *_rqc("Metatranscriptome Mapping", "report", "text", ("README.txt", 2210)),
    *(row for row in METAGENOME if row.shared and "sdm" in row.shape.origin),
)
"""What a ``Metatranscriptome mapping (self)`` project shows; it shares the reads of its metatranscriptome."""

_TRANSCRIPTOME_PLACES = {TABLES: "Metatranscriptome Report Tables", ASSEMBLY: "Metatranscriptome Assembly"}


def _transcriptome(row: TemplateRow) -> TemplateRow:
    shape = row.shape
    if shape.origin == "rqc":
        places = tuple(_TRANSCRIPTOME_PLACES.get(place, place) for place in shape.locations)
        shape = FileShape(places, shape.file_type, shape.origin, shape.file_format)
    name = row.name.replace("METAGENOME", "MTF").replace("metagenome_stat", "metatranscriptome_stat")
    return TemplateRow(name, row.size, shape, row.shared)


METATRANSCRIPTOME: tuple[TemplateRow, ...] = tuple(
    _transcriptome(row) for row in METAGENOME if row.shape.locations != ("Binning Data",)
)
"""The same without bins, assembled as a transcriptome."""

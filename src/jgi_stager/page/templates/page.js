(function () {
  "use strict";
  var period = 1000 * Number(document.documentElement.dataset.refresh);
  var silent = document.getElementById("silent");
  var failedSince = null, tag = null;
  function key(element) { return element.tagName + " " + (element.getAttribute("href") || ""); }
  function alike(wanted) {
    return Array.from(document.querySelectorAll("main a")).filter(function (one) {
      return key(one) === wanted;
    });
  }
  function place(element) {
    var at = element ? alike(key(element)).indexOf(element) : -1;
    return at < 0 ? null : { key: key(element), at: at };
  }
  function show(text) {
    var fresh = new DOMParser().parseFromString(text, "text/html");
    var main = fresh.querySelector("main"), old = document.querySelector("main");
    if (!main || !old) throw new Error("no page");
    var was = place(document.activeElement);
    old.replaceWith(document.adoptNode(main));
    document.title = fresh.title;
    if (was) {
      var again = alike(was.key)[was.at];
      if (again) again.focus({ preventScroll: true });
    }
  }
  function look() {
    if (document.hidden) return;
    var headers = { Accept: "text/html" };
    if (tag) headers["If-None-Match"] = tag;
    fetch(location.pathname + location.search, { headers: headers, cache: "no-store" })
      .then(function (answer) {
        if (answer.status === 304) return null;
        if (!answer.ok) throw new Error(String(answer.status));
        return answer.text().then(function (text) { show(text); tag = answer.headers.get("ETag"); });
      })
      .then(function () { failedSince = null; silent.hidden = true; })
      .catch(function () {
        failedSince = failedSince || new Date();
        silent.querySelector("time").textContent = failedSince.toISOString().slice(11, 16) + " UTC";
        silent.hidden = false;
      });
  }
  function wait() {
    // Those who opened it at the same moment need not ask at the same moment ever after.
    setTimeout(function () { look(); wait(); }, period * (0.9 + 0.2 * Math.random()));
  }
  if (period > 0) {
    wait();
    document.addEventListener("visibilitychange", look);
  }
})();

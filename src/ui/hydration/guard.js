(function () {
  var LATE_MS = 20000;
  var MOUNT = 'wirewise-mount';
  var AS_SENT = ' What is shown is as old as the page; links and plain forms still work.';
  var SENTENCES = {
    unsupported: 'This page cannot run here: the browser has no WebAssembly, or it is turned off.' + AS_SENT,
    missing: 'This page cannot run: a part of it could not be loaded.' + AS_SENT,
    late: 'This page does not run yet: a part of it is still being loaded.' + AS_SENT,
    broken: 'This page has stopped, and the fault is ours. Nothing on it is updated any more; what was sent before is kept.'
  };
  var page = document.documentElement;
  var alive = false, broken = false, notice = null;

  // The tab's storage may be forbidden; then nothing is remembered.
  function storage(use) {
    try { return use(window.sessionStorage); } catch (error) { return null; }
  }
  function remembered() {
    return storage(function (tab) { return tab.getItem(MOUNT); }) !== null;
  }
  var mounts = remembered();

  function add(name, parent) {
    return parent.appendChild(document.createElement(name));
  }
  function show(cause) {
    if (alive && !broken) return;
    page.setAttribute('data-app', cause);
    if (!notice) {
      notice = document.createElement('div');
      notice.className = 'stopped-page';
      notice.setAttribute('role', 'alert');
      notice.setAttribute('data-test', 'stopped-page');
      document.body.insertBefore(notice, document.body.firstChild);
      add('p', notice);
      var again = add('button', notice);
      again.type = 'button';
      again.textContent = 'Load it again';
      again.addEventListener('click', function () {
        // Mounting failed too: the next load begins as the first one did.
        if (!alive && broken) storage(function (tab) { tab.removeItem(MOUNT); });
        location.reload();
      });
    }
    notice.firstChild.textContent = SENTENCES[cause];
  }
  function say(cause) {
    if (document.body) show(cause);
    else document.addEventListener('DOMContentLoaded', function () { show(cause); });
  }

  function panicked() {
    if (broken) return;
    broken = true;
    var again = !alive && !mounts && storage(function (tab) { tab.setItem(MOUNT, ''); return remembered(); });
    if (again) location.reload();
    else say('broken');
  }
  function missing() {
    if (!alive && !broken && !notice) say('missing');
  }
  // A trap without a panic occurs only if the stack or the memory ran out.
  function failed(error) {
    var trap = typeof WebAssembly === 'object' && error instanceof WebAssembly.RuntimeError;
    var foreign = error && /-extension:\/\//.test(error.stack);
    if (trap) panicked();
    else if (!foreign) missing();
  }

  window.wirewise = {
    mounts: function () { return mounts; },
    alive: function () {
      if (broken) return;
      alive = true;
      page.setAttribute('data-app', 'alive');
      if (notice) notice.parentNode.removeChild(notice);
      notice = null;
    },
    panicked: panicked,
    missing: missing
  };

  window.addEventListener('unhandledrejection', function (event) { failed(event.reason); });
  window.addEventListener('error', function (event) { if (event.error) failed(event.error); });
  // Links and forms work as without scripts: a dead handler must not block them.
  ['click', 'submit'].forEach(function (name) {
    window.addEventListener(name, function (event) {
      if (broken && !(notice && notice.contains(event.target))) event.stopImmediatePropagation();
    }, true);
  });

  if (typeof WebAssembly !== 'object' || !('noModule' in document.createElement('script'))) say('unsupported');
  setTimeout(function () { if (!notice && !broken) say('late'); }, LATE_MS);
})();

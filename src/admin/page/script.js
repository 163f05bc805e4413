'use strict';
// Counts the clocks down, and takes what is new from another copy of the page whenever the proxy says that something is.
(() => {
  const by = id => document.getElementById(id);
  // The proxy's time less the browser's, which on another machine may be off.
  let offset = Number(document.body.dataset.now) - Date.now();
  const partsOf = page => [...page.querySelectorAll('[data-part]')];
  // Each part as it was served: what has been counted down since is no change.
  const served = new Map(partsOf(document).map(part => [part.dataset.part, part.outerHTML]));
  let events, timer, reading = false, again = false;

  const span = millis => {
    const all = Math.ceil(millis / 1000), two = number => String(number).padStart(2, '0');
    const days = Math.floor(all / 86400), hours = Math.floor(all / 3600) % 24, minutes = Math.floor(all / 60) % 60;
    if (days) return `${days}d ${two(hours)}h`;
    if (hours) return `${hours}h ${two(minutes)}m`;
    return minutes ? `${minutes}m ${two(all % 60)}s` : `${all}s`;
  };

  const draw = () => {
    const now = Date.now() + offset;
    for (const clock of document.querySelectorAll('[data-until]')) {
      const left = Number(clock.dataset.until) - now;
      if (clock.dataset.from) {
        const whole = Number(clock.dataset.until) - Number(clock.dataset.from);
        clock.setAttribute('width', (100 * Math.min(1, Math.max(0, left / whole))).toFixed(2));
      } else {
        const text = left > 0 ? span(left) : clock.dataset.over;
        if (clock.textContent !== text) clock.textContent = text;
      }
    }
    return now;
  };

  const tick = () => { timer = setTimeout(tick, 1000 - draw() % 1000); };

  const take = page => {
    const active = document.activeElement && document.activeElement.id;
    offset = Number(page.body.dataset.now) - Date.now();
    document.title = page.title;
    for (const part of partsOf(page)) {
      const name = part.dataset.part, html = part.outerHTML;
      const old = document.querySelector(`[data-part="${name}"]`);
      if (!old || served.get(name) === html) continue;
      served.set(name, html);
      const { scrollTop } = old;
      old.replaceWith(document.adoptNode(part));
      part.scrollTop = scrollTop;
    }
    if (active && by(active) && document.activeElement.id !== active) by(active).focus({ preventScroll: true });
    draw();
  };

  const read = async () => {
    if (reading) { again = true; return; }
    reading = true;
    try {
      do {
        again = false;
        const answer = await fetch('/status', { cache: 'no-store' });
        if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), 'text/html'));
      } while (again);
    } catch { /* The events tell that the proxy is gone. */ }
    reading = false;
  };

  const link = (text, lost) => {
    document.body.classList.toggle('stale', lost);
    by('link').classList.toggle('lost', lost);
    if (by('link').textContent !== text) by('link').textContent = text;
  };

  const open = () => {
    if (events) return;
    events = new EventSource('/events');
    events.onmessage = () => { link('This page is live.', false); read(); };
    events.onerror = () => {
      link('The proxy does not answer: what stands here is old. It is asked again.', true);
      // After a refusal a browser does not come back by itself.
      if (events && events.readyState === EventSource.CLOSED) { events = undefined; setTimeout(watch, 5000); }
    };
    tick();
  };

  // A page that nobody sees costs nothing, and takes no connection from those that are seen.
  const watch = () => {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') { open(); return; }
    if (events) events.close();
    events = undefined;
  };

  document.addEventListener('visibilitychange', watch);
  addEventListener('pagehide', () => { if (events) events.close(); events = undefined; });
  addEventListener('pageshow', watch);

  document.addEventListener('submit', async event => {
    event.preventDefault();
    const form = event.target, button = form.querySelector('button'), answer = by('answer');
    button.disabled = true;
    answer.className = '';
    try {
      const body = new URLSearchParams(new FormData(form));
      const reply = await fetch(form.action, { method: 'POST', body, headers: { accept: 'application/json' } });
      if (reply.ok) {
        answer.textContent = button.dataset.done;
      } else {
        const problem = await reply.json();
        answer.className = 'failed';
        answer.textContent = [problem.detail || problem.title, problem.fix].filter(Boolean).join(': ');
      }
    } catch {
      answer.className = 'failed';
      answer.textContent = 'The proxy does not answer.';
    }
    button.disabled = false;
    button.focus();
    read();
  });
})();

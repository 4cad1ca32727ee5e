'use strict';
// Every two seconds the same page again; only what is in it is taken. Not while nobody looks, or marks text.
let busy = false, since = '';
const old = document.getElementById('old');
function say(text) {
  if (old.textContent !== text) old.textContent = text;
  old.hidden = !text;
}
async function look() {
  if (busy || document.hidden || String(getSelection())) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw 0;
    const now = new DOMParser().parseFromString(await answer.text(), 'text/html');
    document.querySelector('main').replaceWith(now.querySelector('main'));
    document.title = now.title;
    since = '';
    say('');
  } catch {
    since = since || new Date().toLocaleTimeString();
    say('No answer since ' + since + '. What follows is from before.');
  }
  busy = false;
}
setInterval(look, 2000);

// Shows one question after the other. An answer is on the server's disk before the next one shows.
"use strict";

// An earlier answer is no judgement, but the second half of a double click on the last question.
const SOONEST = 300; // milliseconds

const $ = (id) => document.getElementById(id);
const choices = [...document.querySelectorAll("[data-choice]")];
const ahead = new Map(); // pictures fetched beforehand, held so that the browser keeps them
let item = null; // the question on the page
let busy = true; // no answer is accepted between an answer and the next question
let looked = 0; // milliseconds for which the question was visible
let since = null; // when it became visible
let focused = null; // a button that had the focus gets it back for the next question

const visible = () => document.visibilityState === "visible";

function lookedFor() {
  return looked + (since === null ? 0 : performance.now() - since);
}

document.addEventListener("visibilitychange", () => {
  looked = lookedFor();
  since = visible() && item ? performance.now() : null;
});

function fetchAhead(urls) {
  for (const url of urls) {
    if (!ahead.has(url)) {
      const picture = new Image();
      picture.src = url;
      ahead.set(url, picture);
    }
  }
  while (ahead.size > 24) ahead.delete(ahead.keys().next().value);
}

async function call(url, options) {
  for (let pause = 500; ; pause = Math.min(2 * pause, 8000)) {
    let wait = pause;
    try {
      const response = await fetch(url, { ...options, cache: "no-store" });
      if (response.ok || response.status === 409) return response;
      if (response.status === 401) return void location.assign("/");
      if (response.status !== 429 && response.status < 500) throw new Error(await response.text());
      wait = 1000 * Number(response.headers.get("Retry-After") || pause / 1000);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: the server was not reached
    }
    $("message").textContent = "Not saved yet. Trying again …";
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function show(next) {
  item = next;
  $("count").textContent = next.done
    ? `All ${next.total} answered`
    : `Question ${next.at + 1} of ${next.total}, ${next.answered} answered`;
  $("progress").max = next.total;
  $("progress").value = next.answered;
  $("question").hidden = next.done;
  $("done").hidden = !next.done;
  if (next.done) {
    busy = false;
    document.querySelector("#done h1").focus();
    return;
  }
  $("prompt").hidden = next.prompt === null;
  $("prompt").textContent = next.prompt === null ? "" : `“${next.prompt}”`;
  next.pictures.forEach((url, index) => { $(`picture-${index + 1}`).src = url; });
  const pictures = next.pictures.map((_, index) => $(`picture-${index + 1}`));
  await Promise.allSettled(pictures.map((picture) => picture.decode()));
  for (const button of choices) {
    button.disabled = false;
    button.setAttribute("aria-pressed", String(button.dataset.choice === next.choice));
  }
  $("back").disabled = next.at === 0;
  $("forward").disabled = next.choice === null;
  $("question").setAttribute("aria-busy", "false");
  if (focused) focused.focus({ preventScroll: true });
  looked = 0;
  since = visible() ? performance.now() : null;
  busy = false;
  fetchAhead(next.ahead);
}

function lock() {
  busy = true;
  focused = document.activeElement instanceof HTMLButtonElement ? document.activeElement : null;
  $("question").setAttribute("aria-busy", "true");
  for (const button of [...choices, $("back"), $("forward")]) button.disabled = true;
}

async function load(at) {
  lock();
  try {
    const response = await call(at === null ? "/api/item" : `/api/item?at=${at}`);
    if (response) await show(await response.json());
  } catch (error) {
    $("message").textContent = error.message;
  }
}

async function answer(choice) {
  if (busy || item.done || lookedFor() < SOONEST) return;
  const { id, version } = item;
  const body = JSON.stringify({ id, version, choice, seconds: lookedFor() / 1000 });
  lock();
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await call("/api/answer", { method: "POST", headers, body });
    if (!response) return;
    $("message").textContent = response.status === 409
      ? "The last question was answered differently in another window; that answer is kept."
      : "";
    await show(await response.json());
  } catch (error) {
    $("message").textContent = error.message;
  }
}

function go(step) {
  if (busy) return;
  if (item.done) return void (step < 0 && load(item.total - 1));
  if (step < 0 && item.at > 0) load(item.at - 1);
  if (step > 0 && item.choice !== null) load(item.at + 1);
}

for (const button of choices) button.addEventListener("click", () => answer(button.dataset.choice));
$("back").addEventListener("click", () => go(-1));
$("forward").addEventListener("click", () => go(1));
$("review").addEventListener("click", () => go(-1));

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Backspace" || event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
  else if (choices.some((button) => button.dataset.choice === event.key)) answer(event.key);
  else return;
  event.preventDefault();
});

load(null);

// The rating page: shows what the server says, sends what the person chooses, keeps nothing itself.
"use strict";

const $ = (id) => document.getElementById(id);
const SMALL = 128; // pictures up to this side are shown with sharp pixels
const LONG = 70; // characters from which a prompt is set smaller
const POLL = 700; // milliseconds between two looks at something that is being made

let state = null;
let busy = true; // until both pictures of a pair are there, and while an answer is on its way
let shownNonce = null;
let turn = 0; // counts what the person did, so that an older look at the state is not believed
let timer = 0;
let offline = false;

async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, { ...options, credentials: "same-origin" });
  } catch {
    offline = true;
    throw new Error("The server has ended. Start diffpref rate again to go on; nothing is lost.");
  }
  offline = false;
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  let reason = text;
  try { reason = JSON.parse(text).error; } catch { /* a plain text */ }
  const error = new Error(reason);
  error.status = answer.status;
  throw error;
}

async function act(path, body, said) {
  if (busy) return;
  busy = true;
  turn += 1;
  const before = shownNonce;
  try {
    hush();
    take(await call(path, body));
    if (said && !state.question) say(said);
    if (shownNonce === before) busy = false;
  } catch (error) {
    warn(error.message);
    if (error.status === 409) {
      try { take(await call("api/state")); } catch { /* it has just been said */ }
    }
    clearPick();
    busy = false;
  }
}

function choose(choice) {
  const question = state && state.question;
  if (!question || busy || state.result) return;
  if (choice === "left" || choice === "right") {
    $(choice).classList.add("picked");
  }
  $("pair").classList.add("passing");
  const words = { left: "Left chosen.", right: "Right chosen.", tie: "A tie.", skip: "Skipped." };
  act("api/answer", { nonce: question.nonce, choice }, words[choice]);
}

function undo() {
  if (state && state.undo) act("api/undo", { nonce: state.undo }, "The last answer was taken back.");
}

function take(next) {
  state = next;
  const { question, progress } = next;
  showProgress(progress);
  showTaste(next);
  showStage(next.show);
  const over = next.result !== null;
  const waiting = !over && !question && next.making;
  $("ask").hidden = !question || over;
  $("wait").hidden = !waiting;
  $("rest").hidden = over || Boolean(question) || waiting;
  $("end").hidden = !over;
  $("finish").hidden = over || !$("rest").hidden;
  $("undo").disabled = !next.undo;
  $("rest-undo").disabled = !next.undo;
  if (waiting) $("wait-text").textContent = "The first pictures are being made …";
  if (over) showEnd(next);
  else if (question) showQuestion(question);
  else if (!waiting) showRest(next);
  if (next.fault && !over) warn(`No more pictures are made: ${next.fault}`);
  poll(waiting || (next.show && next.show.busy));
}

function poll(wanted) {
  clearTimeout(timer);
  if (!wanted || offline) return;
  timer = setTimeout(async () => {
    const seen = turn;
    try {
      const found = await call("api/state");
      if (seen === turn) take(found);
      else poll(true);
    } catch (error) { warn(error.message); }
  }, POLL);
}

function showProgress({ answered, goal, total }) {
  const most = goal === null ? total : total === null ? goal : Math.min(goal, total);
  $("bar").max = Math.max(most || answered || 1, 1);
  $("bar").value = Math.min(answered, $("bar").max);
  $("count").textContent = most ? `${answered} of ${most}` : `${answered} rated`;
}

async function showQuestion(question) {
  if (question.nonce === shownNonce) return;
  shownNonce = question.nonce;
  busy = true;
  lock(true);
  try {
    // Both are shown at the same moment: the one that is there first must not have an advantage.
    const pictures = await Promise.all([load(question.left.src), load(question.right.src)]);
    if (question.nonce !== shownNonce) return;
    ["left", "right"].forEach((side, index) => {
      const image = $(`${side}-image`);
      image.src = pictures[index].src;
      $(side).classList.toggle("small", isSmall(pictures[index]));
    });
    $("prompt").textContent = question.prompt;
    $("prompt").classList.toggle("long", question.prompt.length > LONG);
    if (!$("wish-text").value || $("wish-text").dataset.own !== "yes") {
      $("wish-text").value = question.prompt;
    }
    say(`${$("count").textContent}. ${question.prompt}`);
  } catch {
    $("prompt").textContent = question.prompt;
    warn("A picture cannot be shown. Skip this pair.");
  }
  clearPick();
  lock(false);
  busy = false;
}

function load(src) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(src));
    image.src = src;
  });
}

function isSmall(image) {
  return Math.max(image.naturalWidth, image.naturalHeight) <= SMALL;
}

function lock(on) {
  // aria-disabled keeps the focus where it is, so that the keyboard goes on without a stop.
  for (const id of ["left", "right", "tie", "skip"]) $(id).setAttribute("aria-disabled", String(on));
}

function clearPick() {
  $("pair").classList.remove("passing");
  $("left").classList.remove("picked");
  $("right").classList.remove("picked");
}

function showTaste({ profile, question }) {
  $("taste").hidden = !profile;
  if (!profile) return;
  const { left_out: left, entropy_bits: bits, words } = profile;
  $("learned").textContent = String(profile.pairs);
  $("bits").textContent = bits.own.toFixed(3);
  $("foreseen").textContent = left.n ? `${percent(left.accuracy)} of ${left.n}` : "–";
  $("worth").textContent = question && question.bits !== null ? `${question.bits.toFixed(3)} bits` : "–";
  chips($("liked"), words ? words.liked : []);
  chips($("disliked"), words ? words.disliked : []);
  const everyone = left.n ? ` Everyone's taste alone foresees ${percent(left.population_accuracy)}.` : "";
  $("honest").textContent = `Compared with ${profile.prior.id}: ${profile.verdict}.${everyone}`;
}

function chips(place, words) {
  const found = words.slice(0, 4).map((word) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = word;
    return chip;
  });
  if (!found.length) {
    const none = document.createElement("span");
    none.className = "soft";
    none.textContent = "nothing clear yet";
    found.push(none);
  }
  place.replaceChildren(...found);
}

let shownRows = "";
function showStage(show) {
  $("show").hidden = !show || (state.result !== null && !show.rows.length);
  if (!show) return;
  $("show-me").disabled = show.busy || state.result !== null;
  const of = show.total ? ` ${show.done} of ${show.total}` : "";
  const words = show.busy ? `Making pictures …${of}` : show.fault ? `No pictures: ${show.fault}` : "";
  $("show-state").hidden = !words;
  $("show-state").textContent = words;
  const key = JSON.stringify(show.rows);
  if (key === shownRows) return;
  shownRows = key;
  $("rows").replaceChildren(...show.rows.map((row) => rowOf(row, show)));
  if (show.rows.length) say(`Pictures of ${show.prompt} are there.`);
}

function rowOf(row, show) {
  const whole = document.createElement("div");
  const title = document.createElement("h3");
  const line = document.createElement("div");
  whole.className = "row";
  title.textContent = row.title;
  for (const [index, src] of row.pictures.entries()) {
    const image = new Image();
    image.alt = `${show.prompt}, picture ${index + 1}`;
    image.onload = () => image.classList.toggle("small", isSmall(image));
    image.src = src;
    line.append(image);
  }
  whole.append(title, line);
  return whole;
}

function showRest({ progress, mode, making }) {
  const more = progress.total === null || making || progress.answered + progress.skipped < progress.total;
  const study = mode === "study";
  $("more").hidden = !more || study;
  $("rest-title").textContent = more ? "That was the lot for now" : "All pairs are rated";
  $("rest-text").textContent = study
    ? "Finishing shows which model is which. After that no more votes are taken."
    : more ? "A few more teach your profile more, if you like." : "Thank you. Everything is stored.";
  shownNonce = null;
  busy = false;
  clearPick();
  $("rest-title").focus();
  say($("rest-title").textContent);
}

function showEnd({ result, mode }) {
  if (!$("end-title").textContent) {
    const study = mode === "study";
    $("end-title").textContent = study ? "Which was which" : "Thank you";
    $("end-text").textContent = study
      ? `${result.text}.`
      : `Votes: ${result.votes}, of them ties: ${result.ties}. Skipped: ${result.skipped}.`;
    $("end-counts").textContent = study
      ? `${result.a} won ${result.wins}, tied ${result.ties}, lost ${result.losses}. Prompts: ${result.prompts}, skipped: ${result.skipped}.`
      : "";
    if (study && result.rate !== null) showVerdict(result);
    if (result.next) {
      $("steps").replaceChildren(...result.next.map((line) => {
        const step = document.createElement("li");
        step.textContent = line;
        return step;
      }));
      $("next").hidden = false;
    }
    $("end-title").focus();
    say(`${$("end-text").textContent} ${$("end-counts").textContent}`);
  }
  busy = false;
}

function showVerdict({ a, b, rate, low, high }) {
  $("verdict").hidden = false;
  $("end-a").textContent = `${a} preferred`;
  $("end-b").textContent = `${b} preferred`;
  $("span").style.left = `${100 * low}%`;
  $("span").style.width = `${100 * (high - low)}%`;
  $("dot").style.left = `${100 * rate}%`;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function say(words) {
  $("live").textContent = words;
}

function warn(words) {
  $("alert").textContent = words;
  $("alert").hidden = false;
}

function hush() {
  $("alert").hidden = true;
}

function askToFinish() {
  const left = state && state.mode === "study"
    ? "Which model is which is shown, and no more votes are taken in this folder."
    : "The server ends. Start the same command again to go on; nothing is lost.";
  $("sure-text").textContent = left;
  $("sure-end").showModal();
}

const KEYS = {
  ArrowLeft: () => choose("left"),
  ArrowRight: () => choose("right"),
  ArrowDown: () => choose("tie"),
  t: () => choose("tie"),
  s: () => choose("skip"),
  u: undo,
  Backspace: undo,
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
  if (event.target.closest("input, dialog") || document.querySelector("dialog[open]")) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  // The arrow that means a tie scrolls only where there is nothing to answer.
  if (event.key === "ArrowDown" && $("ask").hidden) return;
  event.preventDefault();
  action();
});

for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
$("undo").addEventListener("click", undo);
$("rest-undo").addEventListener("click", undo);
$("more").addEventListener("click", () => act("api/more", {}));
$("help").addEventListener("click", () => $("keys").showModal());
$("finish").addEventListener("click", askToFinish);
$("rest-finish").addEventListener("click", () => act("api/finish", {}));
$("sure-end").addEventListener("close", () => {
  if ($("sure-end").returnValue === "yes") act("api/finish", {});
  $("sure-end").returnValue = "";
});
$("wish-text").addEventListener("input", () => {
  $("wish-text").dataset.own = $("wish-text").value ? "yes" : "no";
});
$("wish").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    hush();
    take(await call("api/show", { prompt: $("wish-text").value }));
  } catch (error) {
    warn(error.message);
  }
});

// The token has done its work: a cookie took its place.
history.replaceState(null, "", location.pathname);
call("api/state").then((found) => { busy = false; take(found); }, (error) => warn(error.message));

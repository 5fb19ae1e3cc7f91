// The preview: asks for frames one by one, so a slow browser gets the newest one, and only while the page
// is seen. The settings are those of `portraitctl set`, as text.

import { chart, fit, mapping, overlay, strip } from "./draw.js";

const SECONDS = 120;
const RETRY_MS = 1500;
/// The flag of a frame that is black because the camera is private.
const PRIVATE = 16;
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

// The token is in the fragment of the address, which browsers send to nobody. It is kept for this tab, so
// that a reload works, and taken out of the address, where it could be seen or copied.
if (location.hash.length > 1) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", "/");
}
addEventListener("hashchange", () => location.reload());
const token = sessionStorage.getItem("token") || "";

const page = {
  camera: null, // its name
  stream: "view",
  properties: null, // the last that were read
  frame: null, // the last frame that is shown: its facts
  mask: null, // the last mask: bitmap and facts
  shown: 0, // frames since the last second
  tool: null, // "zone" or "crop", while one is drawn
  drawn: null, // the two corners, as fractions of the source
  history: {},
  states: [],
  watching: null, // aborts the loops
};

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function api(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(`/api/${path}`, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "portraitctl preview does not answer. Does it still run?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401 || response.status === 403) lock(answer.error);
  throw new Refused(response.status, answer.error || `The answer was ${response.status}.`);
}

/// Without the token there is nothing to see.
function lock(text) {
  stop();
  const old = document.querySelector(".locked");
  const note = old || document.createElement("p");
  note.className = "locked";
  note.textContent = text || "Open the whole address that `portraitctl preview` printed.";
  document.body.append(note);
  document.querySelector("main").hidden = document.querySelector("header").hidden = true;
}

const ours = () => `camera/${encodeURIComponent(page.camera)}`;

// Messages.

let messageEnds = 0;
function tell(text, seconds = 8) {
  $("message").textContent = text;
  $("message").hidden = false;
  messageEnds = Date.now() + 1000 * seconds;
}

function note(text, offerOpening = false) {
  $("note").hidden = !text;
  $("note-text").textContent = text || "";
  $("note-open").hidden = !offerOpening;
}

// Settings.

async function set(key, value) {
  try {
    await api(`${ours()}/set`, { method: "POST", body: JSON.stringify({ key, value: String(value) }) });
    $("message").hidden = true;
  } catch (error) {
    tell(`${key}: ${error.message}`);
  }
  await refresh();
}

async function post(path, body) {
  try {
    await api(`${ours()}/${path}`, { method: "POST", body });
    $("message").hidden = true;
  } catch (error) {
    tell(error.message);
  }
  await refresh();
}

/// While somebody moves a slider, what the service says does not move it back.
let held = null;
const fill = (input, value) => {
  if (held !== input && document.activeElement !== input) input.value = value;
};

function options(select, entries) {
  const same = select.options.length === entries.length && entries.every(([value, text], i) => select.options[i].value === value && select.options[i].text === text);
  if (!same) select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
}

function choose(group, value) {
  const buttons = [...group.querySelectorAll("[role=radio]")];
  const chosen = buttons.find((button) => (button.dataset.value || button.dataset.stream) === value);
  for (const button of buttons) {
    button.setAttribute("aria-checked", button === chosen);
    // As radio buttons have it: one stop for the key Tab, arrows within.
    button.tabIndex = button === (chosen || buttons[0]) ? 0 : -1;
  }
}

const percent = (value) => `${Math.round(value * 100)} %`;

function showProperties() {
  const { camera, framing, segmentation, background } = page.properties;
  const state = camera.State;
  $("state").textContent = state;
  $("state").dataset.state = state;
  $("private").setAttribute("aria-pressed", camera.Private);
  if (camera.Private) page.mask = null;
  if (camera.Private) note("Private: the camera is closed for everybody until it is opened again.", true);
  else if (["absent", "failed", "stalled"].includes(state)) note(`The camera is ${state}${camera.LastError ? `: ${camera.LastError}` : "."}`);
  else if (!streamError) note(page.frame ? "" : "Waiting for the first frame...");
  $("degraded").hidden = !segmentation.Degraded;
  $("degraded").textContent = segmentation.Degraded || "";

  const values = {
    "framing.mode": framing.Mode, "framing.speed": framing.Speed, "background.mode": background.Mode,
  };
  for (const group of all(".choice[data-key]")) choose(group, values[group.dataset.key]);
  for (const row of all("[data-for]")) row.hidden = row.dataset.for !== background.Mode;
  const limit = framing.Limits && framing.Limits.max_zoom;
  $("zoom-hint").hidden = !(framing.MaxZoom - limit > 0.005);
  $("zoom-hint").textContent = `The sizes of frames and view limit it to ${Number(limit).toFixed(2)}×.`;
  fill($("zoom"), framing.MaxZoom);
  fill($("color"), background.Color);
  fill($("blur"), background.Blur);
  fill($("rotate"), camera.Rotate);
  if (document.activeElement !== $("mirror")) $("mirror").checked = camera.Mirror;
  options($("model"), segmentation.Models.map((name) => [name, name]));
  fill($("model"), segmentation.Model);
  const people = (segmentation.People || []).map(([id]) => String(id));
  const subject = String(framing.Subject || 0);
  if (subject !== "0" && !people.includes(subject)) people.push(subject);
  options($("subject"), [["0", "everybody"], ...people.map((id) => [id, `person ${id}`])]);
  fill($("subject"), subject);
  outputs();
  $("draw-crop").hidden = framing.Mode !== "manual";
  $("zones").replaceChildren(...framing.Zones.map(zoneItem));
  $("clear-zones").disabled = framing.Zones.length === 0;
  const format = camera.Format || {};
  const about = [
    ["device", camera.Device],
    ["format", format.width ? `${format.format} ${format.width}×${format.height}, ${Math.round(format.frame_rate * 10) / 10} fps` : "closed"],
    ["clients", camera.Consumers],
  ];
  $("about").replaceChildren(...about.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}

function outputs() {
  $("zoom").nextElementSibling.textContent = `${Number($("zoom").value).toFixed(2)}×`;
  $("blur").nextElementSibling.textContent = percent($("blur").value);
  $("color").nextElementSibling.textContent = $("color").value;
}

function zoneItem(zone, index) {
  const item = document.createElement("li");
  const [x, y, width, height] = zone;
  item.append(`${percent(width)} × ${percent(height)} at ${percent(x)}, ${percent(y)}`);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove zone ${index + 1}`);
  button.onclick = () => set("framing.zones", zones(page.properties.framing.Zones.filter((_, i) => i !== index)));
  item.append(button);
  return item;
}

const zones = (list) => list.map((zone) => zone.map((part) => part.toFixed(4)).join(",")).join(";");

// Figures over time.

const FIGURES = {
  rate: ["shown", "fps", 1],
  camera: ["camera", "fps", 1],
  age: ["frame age", "ms", 0],
  masks: ["masks", "/s", 1],
  maskAge: ["mask age", "ms", 0],
  net: ["net", "ms", 1],
  core: ["net cost", "% core", 0],
  people: ["people", "", 0],
};

for (const [key, [name, unit]] of Object.entries(FIGURES)) {
  page.history[key] = [];
  const box = document.createElement("div");
  box.className = "figure";
  box.innerHTML = `<span></span><b>-</b><small></small><canvas aria-hidden="true"></canvas>`;
  box.querySelector("span").textContent = name;
  box.querySelector("small").textContent = unit;
  box.dataset.figure = key;
  $("figures").append(box);
}

let countedFrames = null;
function figures(seconds) {
  const { camera, segmentation } = page.properties || { camera: {}, segmentation: {} };
  const stats = camera.Stats || {};
  const known = (value) => (typeof value === "number" && isFinite(value) ? value : null);
  const frames = known(stats.frames);
  const rate = known(segmentation.Rate);
  const net = known(stats.inference_ms);
  const now = {
    rate: page.shown / seconds,
    camera: frames === null || countedFrames === null || frames < countedFrames ? null : (frames - countedFrames) / seconds,
    age: page.shown > 0 && page.frame ? known(page.frame.age_ms) : null,
    masks: rate,
    maskAge: known(stats.mask_age_ms),
    net,
    core: net === null || rate === null ? null : (net * rate) / 10,
    people: segmentation.People ? segmentation.People.length : null,
  };
  countedFrames = frames;
  page.shown = 0;
  for (const [key, value] of Object.entries(now)) {
    const values = page.history[key];
    values.push(value);
    if (values.length > SECONDS) values.shift();
    const box = document.querySelector(`[data-figure=${key}]`);
    box.querySelector("b").textContent = value === null ? "-" : value.toFixed(FIGURES[key][2]);
    chart(box.querySelector("canvas"), values, SECONDS);
  }
  page.states.push($("state").dataset.state || "unreachable");
  if (page.states.length > SECONDS) page.states.shift();
  strip($("states"), page.states, SECONDS);
}

// Reading.

let streamError = "";

async function refresh() {
  if (!page.camera) return;
  const camera = page.camera;
  try {
    const properties = await (await api(ours())).json();
    if (camera !== page.camera) return;
    page.properties = properties;
    showProperties();
    redraw();
  } catch (error) {
    unreachable(error);
  }
}

function unreachable(error) {
  if (error.name === "AbortError") return;
  blank();
  $("state").textContent = "not reachable";
  $("state").dataset.state = "unreachable";
  note(error.message);
}

async function poll(signal) {
  let last = performance.now();
  countedFrames = null;
  while (!signal.aborted) {
    if (page.camera) await refresh();
    else await findCameras();
    const now = performance.now();
    if (now - last > 500) figures((now - last) / 1000);
    last = now;
    if (Date.now() > messageEnds) $("message").hidden = true;
    await sleep(1000);
  }
}

async function findCameras() {
  try {
    const { cameras } = await (await api("cameras")).json();
    options($("camera"), cameras.map((name) => [name, name]));
    $("camera").hidden = cameras.length < 2;
    if (cameras.length === 0) {
      note("The service has no camera.");
      return;
    }
    const before = sessionStorage.getItem("camera");
    show(cameras.includes(before) ? before : cameras[0]);
  } catch (error) {
    unreachable(error);
  }
}

/// Asks for one frame after the other, as long as `wanted` says which stream is wanted.
async function follow(wanted, signal, take) {
  let after = 0;
  let last = "";
  while (!signal.aborted) {
    const stream = wanted();
    if (!stream || !page.camera) {
      await sleep(100);
      continue;
    }
    const key = `${page.camera}/${stream}`;
    if (key !== last) after = 0;
    last = key;
    const same = () => !signal.aborted && key === `${page.camera}/${wanted()}`;
    const request = { controller: new AbortController(), same };
    requests.add(request);
    try {
      const response = await api(`${ours()}/frame/${stream}/${after}`, { signal: request.controller.signal });
      if (response.status === 204) continue;
      const facts = JSON.parse(response.headers.get("portraitd-frame"));
      const bitmap = await createImageBitmap(await response.blob());
      after = facts.number;
      if (same()) take(bitmap, facts);
      else bitmap.close();
    } catch (error) {
      if (error.name === "AbortError") continue;
      if (same()) take(null, null, error);
      await sleep(RETRY_MS);
    } finally {
      requests.delete(request);
    }
  }
}

/// The requests for frames in progress: those that are no longer wanted end at once.
const requests = new Set();
function abortUnwanted() {
  for (const { controller, same } of requests) if (!same()) controller.abort();
}

/// What was seen before is not shown any more.
function blank() {
  page.frame = null;
  page.mask = null;
  $("picture").getContext("2d").clearRect(0, 0, $("picture").width, $("picture").height);
  redraw();
}

function takeFrame(bitmap, facts, error) {
  if (error) {
    blank();
    streamError = error.message;
    if (!page.properties || !page.properties.camera.Private) note(error.message);
    return;
  }
  streamError = "";
  const canvas = $("picture");
  if (canvas.width !== facts.width || canvas.height !== facts.height) {
    canvas.width = facts.width;
    canvas.height = facts.height;
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  if (!page.frame && page.properties && !page.properties.camera.Private) note("");
  page.frame = facts;
  page.shown += 1;
  $("stage").dataset.frames = Number($("stage").dataset.frames || 0) + 1;
  redraw();
}

function takeMask(bitmap, facts, error) {
  if (page.mask) page.mask.bitmap.close();
  page.mask = error || facts.flags & PRIVATE ? null : { bitmap, facts };
  if (!error) redraw();
  else if (page.frame) tell(`mask: ${error.message}`);
}

/// The size of the source's frames, in pixels.
function sourceSize() {
  const format = page.properties && page.properties.camera.Format;
  if (format && format.width) return [format.width, format.height];
  const crop = page.frame && page.frame.crop;
  return crop ? [crop[0] + crop[2], crop[1] + crop[3]] : [1, 1];
}

const showsWhole = () => page.stream === "mask" || page.stream === "source";

function currentMap() {
  const canvas = $("overlay");
  const place = fit(canvas, $("picture"));
  // The crop in the header of a mask is the director's, and the picture is of the whole frame.
  return [place, mapping(place, showsWhole() ? [0, 0, ...sourceSize()] : page.frame.crop)];
}

function redraw() {
  const canvas = $("overlay");
  if (!page.frame) {
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const [place, map] = currentMap();
  const [width, height] = sourceSize();
  const pixels = ([x, y, w, h]) => [x * width, y * height, w * width, h * height];
  // The source is there without masks: what is known of people comes with the mask.
  const known = page.stream === "source" ? page.mask && page.mask.facts : page.frame;
  overlay(canvas, place, map, {
    whole: [0, 0, width, height],
    mask: $("show-tint").checked && page.stream !== "mask" && page.mask ? page.mask.bitmap : null,
    people: $("show-people").checked && known ? known.people : [],
    crop: $("show-crop").checked && showsWhole() && known ? known.crop : null,
    zones: $("show-zones").checked && page.properties ? page.properties.framing.Zones.map(pixels) : [],
    drawn: page.drawn ? pixels(between(page.drawn)) : null,
  });
}

// Drawing zones and crops with a pointer.

const clamp = (value) => Math.min(1, Math.max(0, value));
const between = ([a, b]) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];

function corner(event) {
  const scale = devicePixelRatio || 1;
  const box = $("overlay").getBoundingClientRect();
  const [, map] = currentMap();
  const [x, y] = map.source((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  const [width, height] = sourceSize();
  return [clamp(x / width), clamp(y / height)];
}

function useTool(tool) {
  page.tool = page.tool === tool ? null : tool;
  page.drawn = null;
  $("draw-zone").setAttribute("aria-pressed", page.tool === "zone");
  $("draw-crop").setAttribute("aria-pressed", page.tool === "crop");
  $("overlay").classList.toggle("drawing", page.tool !== null);
  $("tool-note").hidden = page.tool === null;
  $("tool-note").textContent = `Draw the ${page.tool} in the picture; Esc ends`;
  if (page.tool) {
    $("show-zones").checked = true;
    $("stage").scrollIntoView({ block: "nearest" });
  }
  redraw();
}

$("overlay").addEventListener("pointerdown", (event) => {
  if (!page.tool || !page.frame) return;
  event.preventDefault();
  $("overlay").setPointerCapture(event.pointerId);
  page.drawn = [corner(event), corner(event)];
  redraw();
});
$("overlay").addEventListener("pointermove", (event) => {
  if (!page.drawn || !page.frame) return;
  page.drawn[1] = corner(event);
  redraw();
});
$("overlay").addEventListener("pointercancel", () => {
  page.drawn = null;
  redraw();
});
$("overlay").addEventListener("pointerup", async () => {
  if (!page.drawn) return;
  const rectangle = between(page.drawn);
  const tool = page.tool;
  page.drawn = null;
  // A click is no rectangle.
  if (rectangle[2] < 0.01 || rectangle[3] < 0.01) return redraw();
  if (tool === "zone") await set("framing.zones", zones([...page.properties.framing.Zones, rectangle]));
  else {
    await set("framing.manual_crop", zones([rectangle]));
    useTool(null);
  }
});

// Buttons and keys.

function show(camera) {
  page.camera = camera;
  page.properties = null;
  blank();
  for (const values of Object.values(page.history)) values.length = 0;
  page.states.length = 0;
  countedFrames = null;
  streamError = "";
  sessionStorage.setItem("camera", camera);
  $("camera").value = camera;
  $("name").textContent = $("camera").hidden ? camera : "";
  document.title = `${camera} - portraitd preview`;
  note("Waiting for the first frame...");
  abortUnwanted();
  refresh();
}

function look(stream) {
  page.stream = stream;
  blank();
  streamError = "";
  choose($("streams"), stream);
  $("show-tint").disabled = stream === "mask";
  $("show-crop").disabled = !showsWhole();
  note("Waiting for the first frame...");
  changedMarks();
}

/// Whether the mask is needed besides what is shown.
function wantsMask() {
  if (page.stream === "mask") return false;
  return $("show-tint").checked || (page.stream === "source" && ($("show-people").checked || $("show-crop").checked));
}

const check = (id) => {
  if ($(id).disabled) return;
  $(id).checked = !$(id).checked;
  changedMarks();
};
function changedMarks() {
  if (!wantsMask()) page.mask = null;
  abortUnwanted();
  redraw();
}

const togglePrivate = () => page.properties && set("camera.private", page.properties.camera.Private ? "off" : "on");
const zoomBy = (step) => {
  if (!page.properties) return;
  $("zoom").value = Number($("zoom").value) + step;
  outputs();
  set("framing.max_zoom", $("zoom").value);
};

const KEYS = [
  ["1", "the view", () => look("view")],
  ["2", "the composite", () => look("composite")],
  ["3", "the mask", () => look("mask")],
  ["4", "the source", () => look("source")],
  ["t", "tint the mask", () => check("show-tint")],
  ["b", "boxes of people", () => check("show-people")],
  ["k", "the crop", () => check("show-crop")],
  ["x", "the zones", () => check("show-zones")],
  ["f", "framing: follow or off", () => page.properties && set("framing.mode", page.properties.framing.Mode === "follow" ? "off" : "follow")],
  ["r", "reframe", () => post("reframe")],
  ["+", "more zoom", () => zoomBy(0.1)],
  ["-", "less zoom", () => zoomBy(-0.1)],
  ["z", "draw a zone", () => useTool("zone")],
  ["c", "draw the manual crop", () => !$("draw-crop").hidden && useTool("crop")],
  ["p", "private: close or open the camera", togglePrivate],
  ["n", "the next camera", () => nextCamera()],
  ["Escape", "stop drawing", () => page.tool && useTool(page.tool)],
  ["?", "this list", () => $("help").showModal()],
];

function nextCamera() {
  const list = [...$("camera").options].map((option) => option.value);
  if (list.length > 1) show(list[(list.indexOf(page.camera) + 1) % list.length]);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $("help").open || !page.camera) return;
  const focus = document.activeElement;
  if (["SELECT", "TEXTAREA"].includes(focus.tagName) || (focus.tagName === "INPUT" && focus.type !== "checkbox")) return;
  const key = KEYS.find(([name]) => name === event.key);
  if (key) {
    event.preventDefault();
    key[2]();
  }
});

for (const [key, text] of KEYS) {
  const row = $("keys").insertRow();
  const kbd = document.createElement("kbd");
  kbd.textContent = key.length === 1 ? key.toUpperCase() : "Esc";
  row.insertCell().append(kbd);
  row.insertCell().textContent = text;
}

for (const group of all(".choice")) {
  const pick = (button) => (group.dataset.key ? set(group.dataset.key, button.dataset.value) : look(button.dataset.stream));
  group.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (button) pick(button);
  });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...group.querySelectorAll("[role=radio]")];
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    pick(next);
  });
}
for (const id of ["zoom", "blur", "color"]) {
  const input = $(id);
  input.addEventListener("input", () => {
    held = input;
    outputs();
  });
  input.addEventListener("change", async () => {
    await set(input.dataset.key, input.value);
    held = null;
    // The keys of the page work again.
    input.blur();
  });
}
for (const id of ["subject", "rotate", "model"]) {
  $(id).addEventListener("change", async () => {
    $(id).blur();
    await set($(id).dataset.key, $(id).value);
  });
}
$("mirror").addEventListener("change", () => set("camera.mirror", $("mirror").checked ? "on" : "off"));
$("camera").addEventListener("change", () => {
  $("camera").blur();
  show($("camera").value);
});
for (const id of ["show-tint", "show-people", "show-crop", "show-zones"]) $(id).addEventListener("change", changedMarks);
$("reframe").onclick = () => post("reframe");
$("private").onclick = $("note-open").onclick = togglePrivate;
$("draw-zone").onclick = () => useTool("zone");
$("draw-crop").onclick = () => useTool("crop");
$("clear-zones").onclick = () => set("framing.zones", "");
$("clear-image").onclick = () => set("background.image", "");
$("help-open").onclick = () => $("help").showModal();
$("image").addEventListener("change", async () => {
  const [file] = $("image").files;
  if (file) await post("image", file);
  $("image").value = "";
});
addEventListener("resize", redraw);

// Nothing is asked for while nobody sees the page: then the camera can close.

function stop() {
  if (page.watching) page.watching.abort();
  page.watching = null;
  abortUnwanted();
}

function start() {
  stop();
  page.watching = new AbortController();
  const { signal } = page.watching;
  poll(signal);
  follow(() => page.stream, signal, takeFrame);
  follow(() => wantsMask() && "mask", signal, takeMask);
}

look(page.stream);
if (token) {
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  if (!document.hidden) start();
} else {
  lock();
}

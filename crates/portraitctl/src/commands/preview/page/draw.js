// What is drawn on the canvases. Rectangles are [x, y, width, height]. `facts` is what the header of a
// frame says. Its `crop` and `people` are in pixels of the source, and zones are fractions of it.

const COLORS = { person: "#39d3a8", crop: "#ffd33d", zone: "#ff7b72", drawn: "#ffffff" };
const STATES = { running: "#2fbf9b", idle: "#6e7b88", starting: "#e3b341", private: "#e3b341" };

/// The part of `canvas` that the picture takes, in device pixels: it keeps its aspect (`object-fit`).
export function fit(canvas, picture) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
  if (canvas.width !== Math.round(width) || canvas.height !== Math.round(height)) {
    canvas.width = Math.round(width);
    canvas.height = Math.round(height);
  }
  const factor = Math.min(width / picture.width, height / picture.height);
  const [w, h] = [picture.width * factor, picture.height * factor];
  return [(width - w) / 2, (height - h) / 2, w, h];
}

/// From pixels of the source to pixels of the overlay.
export function mapping(place, crop) {
  const [fx, fy] = [place[2] / crop[2], place[3] / crop[3]];
  return {
    rectangle: ([x, y, w, h]) => [place[0] + (x - crop[0]) * fx, place[1] + (y - crop[1]) * fy, w * fx, h * fy],
    source: (x, y) => [crop[0] + (x - place[0]) / fx, crop[1] + (y - place[1]) / fy],
  };
}

const tinted = document.createElement("canvas");

/// A mask as a coloured picture: the more a pixel is a person, the more opaque.
export function tint(mask) {
  tinted.width = mask.width;
  tinted.height = mask.height;
  const context = tinted.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0);
  const pixels = context.getImageData(0, 0, mask.width, mask.height);
  const data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] = data[i] * 0.5;
    data[i] = 47;
    data[i + 1] = 191;
    data[i + 2] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return tinted;
}

function frame(context, [x, y, w, h], color, label, dash) {
  const unit = devicePixelRatio || 1;
  context.setLineDash((dash || []).map((length) => length * unit));
  context.lineWidth = 4 * unit;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.strokeRect(x, y, w, h);
  context.lineWidth = 2 * unit;
  context.strokeStyle = color;
  context.strokeRect(x, y, w, h);
  context.setLineDash([]);
  if (!label) return;
  context.font = `600 ${12 * unit}px system-ui, sans-serif`;
  const [width, height] = [context.measureText(label).width + 10 * unit, 18 * unit];
  const top = Math.max(y - height, 0);
  context.fillStyle = color;
  context.fillRect(x - unit, top, width, height);
  context.fillStyle = "#06120e";
  context.textBaseline = "middle";
  context.fillText(label, x + 4 * unit, top + height / 2);
}

function hatch(context, rectangle) {
  const unit = devicePixelRatio || 1;
  const [x, y, w, h] = rectangle;
  context.save();
  context.beginPath();
  context.rect(x, y, w, h);
  context.clip();
  context.fillStyle = "rgb(255 123 114 / 14%)";
  context.fillRect(x, y, w, h);
  context.strokeStyle = "rgb(255 123 114 / 55%)";
  context.lineWidth = unit;
  context.beginPath();
  for (let start = x - h; start < x + w; start += 12 * unit) {
    context.moveTo(start, y + h);
    context.lineTo(start + h, y);
  }
  context.stroke();
  context.restore();
}

/// Draws everything that lies over the picture. `what` says what is wanted.
export function overlay(canvas, place, map, what) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.save();
  context.beginPath();
  context.rect(...place);
  context.clip();
  if (what.mask) context.drawImage(tint(what.mask), ...map.rectangle(what.whole));
  for (const zone of what.zones) {
    hatch(context, map.rectangle(zone));
    frame(context, map.rectangle(zone), COLORS.zone);
  }
  if (what.crop) frame(context, map.rectangle(what.crop), COLORS.crop, "view", [8, 5]);
  for (const [id, box, confidence] of what.people) {
    frame(context, map.rectangle(box), COLORS.person, `${id} · ${Math.round(confidence * 100)} %`);
  }
  if (what.drawn) frame(context, map.rectangle(what.drawn), COLORS.drawn, "", [4, 4]);
  context.restore();
}

function sized(canvas) {
  const unit = devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * unit), Math.round(canvas.clientHeight * unit)];
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return [context, width, height, unit];
}

/// Draws a figure over time. `values` are the newest `count`, one a second; unknown ones are null.
export function chart(canvas, values, count) {
  const [context, width, height, unit] = sized(canvas);
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return;
  const top = Math.max(...known, 1e-9) * 1.15;
  const at = (i) => width - (values.length - 1 - i) * (width / (count - 1));
  const y = (value) => height - unit - (value / top) * (height - 2 * unit);
  context.strokeStyle = context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  context.lineWidth = 1.5 * unit;
  context.lineJoin = "round";
  // One piece for each run of known values.
  for (let from = 0; from < values.length; from += 1) {
    if (values[from] === null) continue;
    let to = from;
    context.beginPath();
    context.moveTo(at(from), y(values[from]));
    while (to + 1 < values.length && values[to + 1] !== null) {
      to += 1;
      context.lineTo(at(to), y(values[to]));
    }
    context.stroke();
    context.lineTo(at(to), height);
    context.lineTo(at(from), height);
    context.globalAlpha = 0.15;
    context.fill();
    context.globalAlpha = 1;
    from = to;
  }
}

/// Draws the states over time as a strip.
export function strip(canvas, states, count) {
  const [context, width, height] = sized(canvas);
  const step = width / count;
  states.forEach((state, i) => {
    context.fillStyle = STATES[state] || "#ff7b72";
    context.fillRect(width - (states.length - i) * step, 0, step + 1, height);
  });
}

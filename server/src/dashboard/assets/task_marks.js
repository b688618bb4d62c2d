/** A red cross-hatch for failed and lost tasks. */
export function makeHatch(context, theme, ratio) {
  const size = Math.round(6 * ratio);
  const tile = document.createElement("canvas");
  tile.width = size;
  tile.height = size;
  const pen = tile.getContext("2d");
  pen.fillStyle = theme.background;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = theme.bad;
  pen.lineWidth = Math.max(1, 1.1 * ratio);
  pen.beginPath();
  // The corners are overdrawn, so that the tiles join without a gap.
  pen.moveTo(-1, -1);
  pen.lineTo(size + 1, size + 1);
  pen.moveTo(-1, size + 1);
  pen.lineTo(size + 1, -1);
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

const KINDS = ["failed", "lost", "spill", "retry"];

/** One shape per kind, so that nothing is told by colour alone; drawn once and then copied. */
export function makeSprites(theme, ratio, laneHeight) {
  const size = Math.max(2.2, Math.min(4, laneHeight / 5)) * ratio;
  const half = Math.ceil(size * 1.3 + 3 * ratio);
  const sprites = new Map();
  for (const kind of KINDS) {
    const image = document.createElement("canvas");
    image.width = 2 * half;
    image.height = 2 * half;
    const pen = image.getContext("2d");
    pen.translate(half, half);
    pen.lineJoin = "round";
    drawShape(pen, theme, kind, size, ratio);
    // The height of a shape in its lane: at the bottom, in the middle or at the top.
    const offset = kind === "spill" ? (tall) => tall - size * 0.7 - ratio : kind === "retry" ? () => size : (tall) => tall / 2;
    sprites.set(kind, { image, half, offset });
  }
  return sprites;
}

/** `marks` is flat: kind, x, top, height of the lane. */
export function drawMarks(context, sprites, marks) {
  for (let i = 0; i < marks.length; i += 4) {
    const { image, half, offset } = sprites.get(marks[i]);
    context.drawImage(image, Math.round(marks[i + 1] - half), Math.round(marks[i + 2] + offset(marks[i + 3]) - half));
  }
}

function drawShape(pen, theme, kind, size, ratio) {
  pen.beginPath();
  if (kind === "failed") {
    pen.moveTo(-size, -size);
    pen.lineTo(size, size);
    pen.moveTo(size, -size);
    pen.lineTo(-size, size);
    outline(pen, theme.background, theme.bad, ratio, 2);
  } else if (kind === "lost") {
    pen.moveTo(0, -size * 1.3);
    pen.lineTo(size * 1.3, 0);
    pen.lineTo(0, size * 1.3);
    pen.lineTo(-size * 1.3, 0);
    pen.closePath();
    pen.fillStyle = theme.background;
    pen.fill();
    outline(pen, theme.background, theme.bad, ratio, 1.6);
  } else if (kind === "spill") {
    pen.moveTo(-size, -size * 0.7);
    pen.lineTo(size, -size * 0.7);
    pen.lineTo(0, size * 0.7);
    pen.closePath();
    pen.strokeStyle = theme.background;
    pen.lineWidth = 2 * ratio;
    pen.stroke();
    pen.fillStyle = theme.ink;
    pen.fill();
  } else {
    pen.arc(0, 0, size * 0.8, 0, Math.PI * 2);
    pen.fillStyle = theme.background;
    pen.fill();
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1.4 * ratio;
    pen.stroke();
  }
}

function outline(pen, behind, front, ratio, width) {
  pen.strokeStyle = behind;
  pen.lineWidth = (width + 2.4) * ratio;
  pen.stroke();
  pen.strokeStyle = front;
  pen.lineWidth = width * ratio;
  pen.stroke();
}

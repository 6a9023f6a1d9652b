// Where the picture stands in its window: zoom and place.

export interface Size {
  width: number;
  height: number;
}

/** Scale of the picture, and where its upper left corner is [px of the window]. */
export interface Placement {
  scale: number;
  x: number;
  y: number;
}

const CLOSEST = 16; // times the fitting scale

export function fit(picture: Size, frame: Size): Placement {
  const scale = Math.min(frame.width / picture.width, frame.height / picture.height);
  return centred({ scale, x: 0, y: 0 }, picture, frame);
}

/** No gap at a side where the picture could fill it. */
function centred(at: Placement, picture: Size, frame: Size): Placement {
  const place = (offset: number, side: number, room: number): number =>
    side <= room ? (room - side) / 2 : Math.min(0, Math.max(room - side, offset));
  return {
    scale: at.scale,
    x: place(at.x, picture.width * at.scale, frame.width),
    y: place(at.y, picture.height * at.scale, frame.height),
  };
}

/** Zoom by a factor; what lies at (x, y) of the window stays there. */
export function zoom(at: Placement, factor: number, x: number, y: number, picture: Size, frame: Size): Placement {
  const least = fit(picture, frame).scale;
  const scale = Math.min(Math.max(at.scale * factor, least), least * CLOSEST);
  const ratio = scale / at.scale;
  return centred({ scale, x: x - (x - at.x) * ratio, y: y - (y - at.y) * ratio }, picture, frame);
}

export function pan(at: Placement, dx: number, dy: number, picture: Size, frame: Size): Placement {
  return centred({ scale: at.scale, x: at.x + dx, y: at.y + dy }, picture, frame);
}

/** From where to where the picture is seen, from left to right [px of the window]. */
export function visible(at: Placement, picture: Size, frame: Size): [number, number] {
  return [Math.max(0, at.x), Math.min(frame.width, at.x + picture.width * at.scale)];
}

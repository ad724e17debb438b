/** A small plot over the last hour; the cursor is shared by all plots of the page. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { dark } from "../theme";
import { short } from "./series";

export interface Line {
  values: (number | null)[];
  /** The name of a colour in `tokens.css`. */
  colour: string;
  /** Drawn as columns instead of a line. */
  columns?: boolean;
}

export interface PlotProps {
  title: string;
  /** All that the plot shows, for those who do not see it. */
  words: string;
  /** What stands beside the title while nothing is pointed at. */
  summary: string;
  times: number[];
  lines: Line[];
  /** The values at one instant, as words. */
  at: (index: number) => string;
}

const HEIGHT = 104;
const WHOLE = [1, 10, 100, 1e3, 1e4, 1e5].flatMap((scale) => [scale, 2 * scale, 5 * scale]);

export function Plot(props: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const data = [props.times, ...props.lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const box = place.current;
    if (!box) return undefined;
    const show = (index: number | null | undefined) => {
      if (!readout.current) return;
      const { at, summary, times } = latest.current;
      const time = index == null ? undefined : times[index];
      readout.current.textContent =
        index == null || time === undefined ? summary : `${clock(time)}: ${at(index)}`;
    };
    const made = new uPlot(options(box, latest.current.lines, show), data, box);
    plot.current = made;
    const watch = new ResizeObserver(() =>
      made.setSize({ width: box.clientWidth, height: HEIGHT }),
    );
    watch.observe(box);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [dark.value]);

  useEffect(() => {
    plot.current?.setData(data);
    if (plot.current?.cursor.idx == null && readout.current) {
      readout.current.textContent = props.summary;
    }
  }, [props.times.at(-1), props.summary]);

  return (
    <figure class="plot">
      <figcaption>
        <span>{props.title}</span>
        <span class="readout" ref={readout} />
      </figcaption>
      <div ref={place} role="img" aria-label={props.words} />
    </figure>
  );
}

function options(
  box: HTMLElement,
  lines: Line[],
  show: (index: number | null | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const axis: uPlot.Axis = {
    stroke: colour("soft"),
    font: `11px ${style.getPropertyValue("--text")}`,
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [8, 4, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "status" }, y: false, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 22, space: 70, values: (_, at) => at.map(clock) },
      {
        ...axis,
        size: 40,
        space: 26,
        gap: 4,
        values: (_, at) => at.map(short),
        // What is counted has no halves.
        ...(lines.some((line) => line.columns) && { incrs: WHOLE }),
      },
    ],
    series: [{}, ...lines.map((line) => seriesOf(line, colour(line.colour)))],
    hooks: { setCursor: [(made) => show(made.cursor.idx)] },
  };
}

function seriesOf(line: Line, stroke: string): uPlot.Series {
  if (!line.columns) {
    // A moment between silent ones makes no line: it is drawn as a point.
    const points: uPlot.Series.Points = { show: true, size: 4, fill: stroke, filter: lonely };
    return { stroke, width: 1.5, spanGaps: false, points };
  }
  const columns = uPlot.paths.bars?.({ size: [0.9, 8, 2] });
  return { stroke, fill: stroke, width: 0, points: { show: false }, ...(columns && { paths: columns }) };
}

function lonely(plot: uPlot, index: number): number[] {
  const values = plot.data[index] ?? [];
  const silent = (at: number) => values[at] == null;
  return [...values.keys()].filter((at) => !silent(at) && silent(at - 1) && silent(at + 1));
}

function clock(seconds: number): string {
  const time = new Date(seconds * 1000);
  return `${two(time.getHours())}:${two(time.getMinutes())}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

import { Button } from "@mantine/core";
import type { ReactNode } from "react";
import type { Estimate, EstimateSpec } from "../api/types";
import { bytes, count } from "../lib/bytes";
import classes from "./Estimate.module.css";
import { Foreign } from "./Foreign";
import { Note } from "./Note";

interface Props {
	estimate: Estimate;
	/** What it was made for. */
	spec: EstimateSpec;
	/** Leaves something more out; none: it cannot be changed here. */
	exclude?: (pattern: string) => void;
	/** The patterns as they are by now. */
	excludes?: readonly string[];
}

const things = (n: number) => (n === 1 ? "1 thing" : `${count(n)} things`);
const files = (n: number) => (n === 1 ? "1 file" : `${count(n)} files`);

/** What a backup would hold, and what it would leave out. */
export function EstimateResult({ estimate: e, spec, exclude, excludes = [] }: Props) {
	const patterns = spec.excludes ?? [];
	const others: [name: string, out: Estimate["caches"], on: boolean][] = [
		["Caches", e.caches, spec.exclude_caches === true],
		["Other file systems, not looked into", e.file_systems, spec.one_file_system === true],
		["Files that are too large", e.too_large, (spec.exclude_larger_than ?? 0) > 0],
	];
	const idle = patterns.filter((_, i) => nothing(e.patterns[i]));
	const most = e.largest[0]?.bytes ?? 0;
	return (
		<div className={classes.result}>
			<dl className={classes.sums}>
				<div>
					<dt>In the backup</dt>
					<dd>
						<b>{bytes(e.bytes)}</b> in {files(e.files)}, {count(e.folders)} folders
					</dd>
				</div>
				<div>
					<dt>Left out</dt>
					<dd>
						<b>
							{e.excluded.partial && e.excluded.bytes > 0 ? "more than " : ""}
							{bytes(e.excluded.bytes)}
						</b>{" "}
						in {files(e.excluded.files)}
					</dd>
				</div>
			</dl>
			{idle.length > 0 && (
				<Note tone="warn">
					{idle.length === 1
						? "One pattern matches nothing here."
						: `${count(idle.length)} patterns match nothing here.`}
				</Note>
			)}
			{(patterns.length > 0 || others.some(([, , on]) => on)) && (
				<Section title="What takes out how much">
					<table className={classes.table}>
						<thead>
							<tr>
								<th scope="col">By</th>
								<th scope="col">Matches</th>
								<th scope="col">Size</th>
							</tr>
						</thead>
						<tbody>
							{patterns.map((p, i) => (
								// biome-ignore lint/suspicious/noArrayIndexKey: a pattern may be there twice, and is known by its line
								<tr key={`${i} ${p}`} data-idle={nothing(e.patterns[i]) || undefined}>
									<th scope="row">
										<span className={classes.line}>Line {i + 1}</span> <code>{p}</code>
										{e.patterns[i]?.samples?.[0] && (
											<span className={classes.sample}>
												as <Foreign>{e.patterns[i].samples[0]}</Foreign>
											</span>
										)}
									</th>
									<td>{matches(e.patterns[i])}</td>
									<td>{bytes(e.patterns[i]?.bytes ?? 0)}</td>
								</tr>
							))}
							{others
								.filter(([, , on]) => on)
								.map(([name, out]) => (
									<tr key={name}>
										<th scope="row">{name}</th>
										<td>{out.matches === 0 ? "nothing" : things(out.matches)}</td>
										<td>{bytes(out.bytes)}</td>
									</tr>
								))}
						</tbody>
					</table>
				</Section>
			)}
			{e.largest.length > 0 && (
				<Section title="The largest folders that are in">
					<ul className={classes.folders}>
						{e.largest.map((f) => {
							const gone = f.exclude !== undefined && excludes.includes(f.exclude);
							return (
								<li key={f.path} data-gone={gone || undefined}>
									<span className={classes.path}>
										<Foreign>{f.path}</Foreign>
									</span>
									<span className={classes.size}>
										{bytes(f.bytes)}
										<span className={classes.few}>{files(f.files)}</span>
									</span>
									{exclude && f.exclude && (
										<Button
											size="compact-xs"
											variant="default"
											disabled={gone}
											aria-label={`Exclude ${f.path}`}
											onClick={() => exclude(f.exclude ?? "")}
										>
											{gone ? "Left out now" : "Exclude this"}
										</Button>
									)}
									<span className={classes.bar} aria-hidden>
										<span style={{ width: `${most > 0 ? Math.max(1, (100 * f.bytes) / most) : 0}%` }} />
									</span>
								</li>
							);
						})}
					</ul>
				</Section>
			)}
			{e.largest_excluded.length > 0 && (
				<Section title="The largest things that are left out">
					<ul className={classes.folders}>
						{e.largest_excluded.map((x) => (
							<li key={x.path}>
								<span className={classes.path}>
									<Foreign>{x.path}</Foreign>
								</span>
								<span className={classes.size}>
									{x.by === "file_system" ? "not looked into" : `${x.partial ? "more than " : ""}${bytes(x.bytes)}`}
									<span className={classes.few}>{because(x, patterns)}</span>
								</span>
							</li>
						))}
					</ul>
				</Section>
			)}
			{e.samples.length > 0 && (
				<details className={classes.help}>
					<summary>Some of the files that are in</summary>
					<ul className={classes.samples}>
						{e.samples.map((s) => (
							<li key={s}>
								<Foreign>{s}</Foreign>
							</li>
						))}
					</ul>
				</details>
			)}
			{e.shortened && <p className={classes.about}>The lists are shortened; the sums are whole.</p>}
		</div>
	);
}

function Section({ title, children }: { title: string; children: ReactNode }) {
	return (
		<section>
			<h3>{title}</h3>
			{children}
		</section>
	);
}

function nothing(p: Estimate["patterns"][number] | undefined): boolean {
	return p !== undefined && p.matches === 0 && !p.covered;
}

function matches(p: Estimate["patterns"][number] | undefined): string {
	if (!p) return "–";
	if (p.matches > 0) return things(p.matches);
	return p.covered ? "only what others take out" : "nothing";
}

function because(x: Estimate["largest_excluded"][number], patterns: readonly string[]): string {
	switch (x.by) {
		case "pattern":
			return `by ${patterns[x.pattern ?? -1] ?? "a pattern"}`;
		case "cache":
			return "a cache";
		case "file_system":
			return "another file system";
		default:
			return "too large";
	}
}

import type { HostGroup } from "../../api/fleet";
import type { Host } from "../../api/types";

/** One row of the table: the head of a group, or the host at an index. */
export type Row = { group: string; counts: HostGroup | undefined } | { host: number };

/**
 * The rows of hosts that come group by group, with a head before each. The heads follow the hosts as they were read, so
 * they are right whatever page ends within a group; the counts are the server's, for hosts not read yet too.
 */
export function grouped(hosts: readonly Host[], key: string, groups: readonly HostGroup[] | undefined): Row[] {
	const counts = new Map((groups ?? []).map((g) => [g.value, g]));
	const rows: Row[] = [];
	let last: string | undefined;
	hosts.forEach((host, i) => {
		const value = host.labels[key] ?? "";
		if (value !== last) {
			rows.push({ group: value, counts: counts.get(value) });
			last = value;
		}
		rows.push({ host: i });
	});
	return rows;
}

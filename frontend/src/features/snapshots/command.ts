import type { Host, Snapshot } from "../../api/types";
import { acts } from "../../lib/escape";
import { quoted } from "../../lib/shell";

/** Where the snapshot lies as far as is known: the server's repository, or the only one the machine names. */
export function locationOf(
	host: Pick<Host, "repository" | "reported_repositories" | "repository_id">,
): string | undefined {
	if (host.repository) return host.repository.url;
	const own = host.reported_repositories;
	return (own.find((r) => r.id !== undefined && r.id === host.repository_id) ?? (own.length === 1 ? own[0] : undefined))
		?.location;
}

/** What restores the snapshot with restic alone. Where the place is not known, or holds what would act on a terminal, a word stands for it. */
export function restoreCommand(
	host: Pick<Host, "repository" | "reported_repositories" | "repository_id">,
	snapshot: Pick<Snapshot, "id">,
): string {
	const location = locationOf(host);
	const place = location && !acts(location) ? quoted(location) : "REPOSITORY";
	return `restic -r ${place} restore ${snapshot.id} --target /tmp/restored`;
}

import { useQuery } from "@tanstack/react-query";
import { meQuery } from "../../api/auth";
import { tryHostsQuery } from "../../api/fleet";
import { whyNot } from "../../lib/allowed";
import { specOf, withExclude } from "../../lib/backupForm";
import { linesOf } from "../../lib/lines";
import { TryEstimate } from "../../ui/TryEstimate";
import type { PolicyForm } from "./form";

interface Props {
	form: PolicyForm;
	set: <F extends keyof PolicyForm>(f: F, value: PolicyForm[F]) => void;
}

/** Tries what is backed up on one of the machines that the policy names, those that are online first. */
export function Trial({ form, set }: Props) {
	const { data: me } = useQuery(meQuery);
	const { data } = useQuery(tryHostsQuery(form.all || form.ids.length > 0 ? undefined : form.labels[0]));
	const named = data?.filter(
		(h) =>
			form.all || form.ids.includes(h.id) || (form.labels.length > 0 && form.labels.every((l) => has(h.labels, l))),
	);
	const hosts = named
		?.sort((a, b) => Number(b.status === "online") - Number(a.status === "online") || a.name.localeCompare(b.name))
		.map((h) => ({ id: h.id, name: h.name, status: h.status, reason: whyNot(h, "estimate", me?.role) }));
	return (
		<TryEstimate
			hosts={hosts}
			spec={() => {
				const made = specOf(form.backup);
				return "spec" in made ? made.spec : undefined;
			}}
			exclude={(pattern) => set("backup", withExclude(form.backup, pattern))}
			excludes={linesOf(form.backup.excludes)}
		/>
	);
}

function has(labels: Record<string, string>, wanted: string): boolean {
	const at = wanted.indexOf("=");
	return at < 0 ? labels[wanted] !== undefined : labels[wanted.slice(0, at)] === wanted.slice(at + 1);
}

import { Modal, useMantineColorScheme } from "@mantine/core";
import {
	IconBolt,
	IconCalendarTime,
	IconCornerDownLeft,
	IconDatabase,
	IconFileText,
	IconHistory,
	IconPalette,
	IconSearch,
	IconServer2,
} from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useId, useMemo, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { findHostsQuery } from "../../api/fleet";
import { jobQuery } from "../../api/jobs";
import { policiesQuery } from "../../api/policies";
import { repositoriesQuery } from "../../api/repositories";
import type { Host } from "../../api/types";
import { useSignal } from "../../lib/signal";
import { kindWords, protectionWords, stateWords } from "../../lib/words";
import { helpOpen, pageActions, paletteOpen, typedEarly } from "../../ui/actions";
import { Foreign } from "../../ui/Foreign";
import { addRecent, type Entry, found, idIn, readRecent } from "./find";
import classes from "./Palette.module.css";

const icons = {
	host: IconServer2,
	job: IconHistory,
	policy: IconCalendarTime,
	repository: IconDatabase,
	page: IconFileText,
	action: IconBolt,
	look: IconPalette,
};

type Place =
	| "/"
	| "/policies"
	| "/policies/new"
	| "/repositories"
	| "/repositories/new"
	| "/calendar"
	| "/jobs"
	| "/add";

/** Goes anywhere and does anything by a few letters. */
export default function Palette() {
	return (
		<Modal.Root
			opened
			onClose={() => paletteOpen.set(false)}
			size={620}
			yOffset="12vh"
			centered={false}
			transitionProps={{ duration: 0 }}
			classNames={{ content: classes.content }}
		>
			<Modal.Overlay />
			<Modal.Content aria-label="Go to">
				<Search />
			</Modal.Content>
		</Modal.Root>
	);
}

function Search() {
	const id = useId();
	const [text, setText] = useState(() => typedEarly.get());
	const [at, setAt] = useState(0);
	const { entries, searching } = useEntries(text);
	const here = Math.min(at, entries.length - 1);

	function move(to: number) {
		const next = (to + entries.length) % Math.max(1, entries.length);
		setAt(next);
		document.getElementById(`${id}-${next}`)?.scrollIntoView({ block: "nearest" });
	}
	function run(entry: Entry | undefined) {
		if (!entry) return;
		paletteOpen.set(false);
		entry.run();
	}
	return (
		<>
			<div className={classes.field}>
				<IconSearch size={17} aria-hidden />
				<input
					data-autofocus
					// biome-ignore lint/a11y/noAutofocus: the person asked for it by a key, and types on
					autoFocus
					role="combobox"
					aria-expanded
					aria-controls={`${id}-list`}
					aria-activedescendant={entries.length > 0 ? `${id}-${here}` : undefined}
					aria-label="Go to a machine, a job by its id, a page or an action"
					placeholder="Machine, job id, page or action"
					autoComplete="off"
					spellCheck={false}
					maxLength={256}
					value={text}
					onChange={(e) => {
						setText(e.currentTarget.value);
						setAt(0);
					}}
					onKeyDown={(e) => {
						if (e.nativeEvent.isComposing) return;
						const key = e.ctrlKey && !e.metaKey && !e.altKey ? `Ctrl ${e.key}` : e.key;
						if (key === "ArrowDown" || key === "Ctrl n" || key === "Ctrl j") move(here + 1);
						else if (key === "ArrowUp" || key === "Ctrl p") move(here - 1);
						else if (key === "Home" && text === "") move(0);
						else if (key === "End" && text === "") move(entries.length - 1);
						else if (key === "Enter") run(entries[here]);
						else return;
						e.preventDefault();
					}}
				/>
			</div>
			<div id={`${id}-list`} role="listbox" aria-label="Where to" className={classes.list}>
				{entries.map((entry, i) => {
					const Icon = icons[entry.icon];
					return (
						<div key={entry.id} role="presentation">
							{entry.section !== entries[i - 1]?.section && (
								<div className={classes.section} aria-hidden>
									{entry.section}
								</div>
							)}
							{/* biome-ignore lint/a11y/useKeyWithClickEvents: the keys are those of the combobox above */}
							{/* biome-ignore lint/a11y/useFocusableInteractive: it is the combobox's active descendant */}
							<div
								id={`${id}-${i}`}
								role="option"
								aria-selected={i === here}
								className={classes.entry}
								onPointerMove={() => at !== i && setAt(i)}
								onClick={() => run(entry)}
							>
								<Icon size={16} aria-hidden />
								<span className="rm-cut">{entry.foreign ? <Foreign>{entry.text}</Foreign> : entry.text}</span>
								{entry.detail && <span className={classes.detail}>{entry.detail}</span>}
								{entry.hotkey && <kbd>{entry.hotkey}</kbd>}
								{i === here && <IconCornerDownLeft size={14} aria-hidden className={classes.enter} />}
							</div>
						</div>
					);
				})}
			</div>
			<div role="status" className={entries.length === 0 ? classes.none : "rm-hidden"}>
				{entries.length > 0 ? `${entries.length} found` : searching ? "Searching…" : "Nothing is called that"}
			</div>
		</>
	);
}

/** The text as it was a moment ago, when no key came since. */
function useSettled(text: string, ms: number): string {
	const [settled, set] = useState(text);
	useEffect(() => {
		const timer = setTimeout(() => set(text), ms);
		return () => clearTimeout(timer);
	}, [text, ms]);
	return settled;
}

function useEntries(text: string): { entries: Entry[]; searching: boolean } {
	const navigate = useNavigate();
	const { data: me } = useQuery(meQuery);
	const { setColorScheme } = useMantineColorScheme();
	const actions = useSignal(pageActions);
	const settled = useSettled(text.trim(), 130);
	const id = idIn(settled);
	const hosts = useQuery({
		...findHostsQuery(settled),
		enabled: settled !== "" && id === undefined,
		placeholderData: keepPreviousData,
		refetchInterval: false,
	});
	// There are few of them: they are read once, and found here.
	const policies = useQuery({ ...policiesQuery, refetchInterval: false });
	const repositories = useQuery({ ...repositoriesQuery, refetchInterval: false });
	const job = useQuery({ ...jobQuery(id ?? ""), enabled: id !== undefined, retry: false, refetchInterval: false });
	const who = me?.id ?? "";
	const operator = mayAs(me?.role, "operator");
	const administrator = mayAs(me?.role, "administrator");

	const goHost = useMemo(
		() => (host: { id: string; name: string }) => {
			addRecent(who, { kind: "host", id: host.id, text: host.name });
			void navigate({ to: "/hosts/$hostId", params: { hostId: host.id } });
		},
		[navigate, who],
	);
	const goJob = useMemo(
		() => (jobId: string, name: string) => {
			addRecent(who, { kind: "job", id: jobId, text: name });
			void navigate({ to: "/jobs/$jobId", params: { jobId } });
		},
		[navigate, who],
	);

	const fixed = useMemo<Entry[]>(() => {
		const page = (to: Place, name: string, hotkey?: string, words = ""): Entry => ({
			id: `page ${to}`,
			section: "Pages",
			text: name,
			...(hotkey && { hotkey }),
			words: `go page ${words}`,
			icon: "page",
			run: () => void navigate({ to }),
		});
		const section = (name: string, label: string, words = ""): Entry => ({
			id: `settings ${name}`,
			section: "Pages",
			text: label,
			words: `settings go page ${words}`,
			icon: "page",
			run: () => void navigate({ to: "/settings/$section", params: { section: name } }),
		});
		const look = (scheme: "light" | "dark" | "auto", label: string): Entry => ({
			id: `look ${scheme}`,
			section: "Appearance",
			text: label,
			words: "appearance theme mode scheme colour color",
			icon: "look",
			run: () => setColorScheme(scheme),
		});
		const offered = actions.filter((a) => !a.quiet);
		return [
			...readRecent(who).map(
				(r): Entry => ({
					id: `recent ${r.id}`,
					section: "Recent",
					text: r.text,
					foreign: true,
					icon: r.kind,
					run: () => (r.kind === "host" ? goHost({ id: r.id, name: r.text }) : goJob(r.id, r.text)),
				}),
			),
			...offered.map(
				(a): Entry => ({
					id: `action ${a.id}`,
					section: "On this page",
					text: a.label,
					...(a.description && { detail: a.description }),
					...(a.hotkey && { hotkey: a.hotkey }),
					icon: "action",
					run: a.run,
				}),
			),
			page("/", "Fleet", "g f", "machines hosts overview"),
			page("/policies", "Policies", "g p", "schedules retention plan"),
			page("/repositories", "Repositories", "g r", "storage buckets kit"),
			page("/calendar", "Calendar", "g c", "due missed schedule"),
			page("/jobs", "Jobs", "g j", "history backups"),
			...(operator
				? [
						page("/add", "Add a machine", "g a", "enroll install host new"),
						page("/policies/new", "New policy", undefined, "add make schedule"),
						page("/repositories/new", "New repository", undefined, "add make storage"),
					]
				: []),
			section("account", "Account", "password sessions"),
			...(operator ? [section("tokens", "Enrollment tokens", "add machine")] : []),
			...(administrator
				? [
						section("operators", "Operators", "people users roles"),
						section("keys", "API keys", "programs scripts tokens"),
						section("audit", "Audit log", "who changed what"),
					]
				: []),
			section("server", "Server", "version database about"),
			{
				id: "help",
				section: "Pages",
				text: "Keyboard and help",
				hotkey: "?",
				words: "shortcuts states documentation",
				icon: "page",
				run: () => helpOpen.set(true),
			},
			look("light", "Light"),
			look("dark", "Dark"),
			look("auto", "As the system"),
		];
	}, [actions, goHost, goJob, navigate, operator, administrator, setColorScheme, who]);

	const named = useMemo<Entry[]>(
		() => [
			...(policies.data?.policies ?? []).map(
				(p): Entry => ({
					id: `policy ${p.id}`,
					section: "Policies",
					text: p.name,
					foreign: true,
					detail: p.enabled ? "" : "Off",
					words: "policy",
					icon: "policy",
					run: () => void navigate({ to: "/policies/$policyId", params: { policyId: p.id } }),
				}),
			),
			...(repositories.data?.repositories ?? []).map(
				(r): Entry => ({
					id: `repository ${r.id}`,
					section: "Repositories",
					text: r.name,
					foreign: true,
					words: "repository",
					icon: "repository",
					run: () => void navigate({ to: "/repositories/$repositoryId", params: { repositoryId: r.id } }),
				}),
			),
		],
		[policies.data, repositories.data, navigate],
	);

	const entries = useMemo(() => {
		if (id !== undefined) {
			if (job.data) {
				const j = job.data;
				return [
					{
						id: `job ${j.id}`,
						section: "Job",
						text: `${kindWords[j.kind].name} of ${j.host_name}`,
						foreign: true,
						detail: stateWords[j.state].name,
						icon: "job",
						run: () => goJob(j.id, `${kindWords[j.kind].name} of ${j.host_name}`),
					} satisfies Entry,
				];
			}
			return [];
		}
		const own = found(text, fixed);
		if (text.trim() === "") return own;
		const seen = new Set(own.map((e) => e.id));
		const machines = settled === "" ? [] : sorted(hosts.data ?? [], settled);
		const places = machines
			.filter((h) => !seen.has(`recent ${h.id}`))
			.map(
				(h): Entry => ({
					id: `host ${h.id}`,
					section: "Machines",
					text: h.name,
					foreign: true,
					detail: protectionWords[h.protection].name,
					icon: "host",
					run: () => goHost(h),
				}),
			);
		const recent = own.filter((e) => e.section === "Recent");
		const like = found(text, named).slice(0, 12);
		return [...recent, ...places, ...like, ...own.filter((e) => e.section !== "Recent")];
	}, [fixed, named, hosts.data, job.data, id, text, settled, goHost, goJob]);

	return { entries, searching: hosts.isFetching || job.isFetching || settled !== text.trim() };
}

/** Those that begin with the text come first. */
function sorted(hosts: readonly Host[], text: string): Host[] {
	const begins = (h: Host) => (h.name.toLowerCase().startsWith(text.toLowerCase()) ? 0 : 1);
	return [...hosts].sort((a, b) => begins(a) - begins(b));
}

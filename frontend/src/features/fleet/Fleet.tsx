import { Button } from "@mantine/core";
import { useElementSize, useMediaQuery } from "@mantine/hooks";
import { IconPlus, IconServer2 } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { mayAs, meQuery } from "../../api/auth";
import { fleetQuery, staleFleet } from "../../api/fleet";
import { useHostList } from "../../api/hostlist";
import { readHost } from "../../api/hosts";
import { orderAgain } from "../../api/orders";
import type { Host } from "../../api/types";
import { visible } from "../../lib/escape";
import { isTyping } from "../../lib/keys";
import { type Action, useActions } from "../../ui/actions";
import { Foreign } from "../../ui/Foreign";
import { done, failed } from "../../ui/notify";
import { Card, Page } from "../../ui/Page";
import { Empty, Failure, Loading, Shown } from "../../ui/States";
import { Counts, CountsToCome } from "./Answer";
import { AttentionList } from "./AttentionList";
import { answerOf } from "./attention";
import { type BulkAction, BulkBar } from "./BulkBar";
import { fitting } from "./columns";
import classes from "./Fleet.module.css";
import { choose, clicked, everybody, nobody, type Selection } from "./selection";
import { Table } from "./Table";
import { Toolbar } from "./Toolbar";
import { useColumns } from "./useColumns";
import { filterOf, listingOf, noFilter, type SetView, scopeOf, type View } from "./view";

const Bulk = lazy(() => import("./Bulk"));

/** Is everything backed up? The answer, what needs somebody, and the machines. */
export function Fleet({ view, setView }: { view: View; setView: SetView }) {
	const { data: me } = useQuery(meQuery);
	const operator = mayAs(me?.role, "operator");
	const scope = useStable(scopeOf(view));
	const overview = useQuery({ ...fleetQuery(scope), placeholderData: (before) => before });
	const again = useAgain();
	const data = overview.data;
	const answer = data && answerOf(data);
	const narrowed = view.label !== undefined || view.version !== undefined;
	const nothing = data !== undefined && data.hosts.total === 0 && !narrowed;

	return (
		<Page
			title="Fleet"
			heading={
				answer ? (
					<span className={classes.answer} data-tone={answer.tone}>
						<span className={classes.light} data-tone={answer.tone} aria-hidden />
						{answer.text}
					</span>
				) : (
					"Fleet"
				)
			}
			subtitle={
				narrowed && (
					<>
						Of those
						{view.label && (
							<>
								{" "}
								labeled <Foreign>{view.label}</Foreign>
							</>
						)}
						{view.version && (
							<>
								{" "}
								with agent <Foreign>{view.version}</Foreign>
							</>
						)}
					</>
				)
			}
			actions={
				operator && (
					<Button
						visibleFrom="sm"
						renderRoot={(props) => <Link to="/add" {...props} />}
						leftSection={<IconPlus size={16} />}
					>
						Add a machine
					</Button>
				)
			}
		>
			{nothing ? (
				<Nothing operator={operator} />
			) : (
				<>
					{data ? (
						<>
							<Counts overview={data} view={view} setView={setView} />
							<AttentionList overview={data} operator={operator} again={again} />
						</>
					) : overview.error ? (
						<Failure error={overview.error} retry={() => void overview.refetch()} />
					) : (
						<CountsToCome />
					)}
					<Machines view={view} setView={setView} operator={operator} overview={data} again={again} />
				</>
			)}
		</Page>
	);
}

function Nothing({ operator }: { operator: boolean }) {
	return (
		<Card>
			<Empty
				icon={<IconServer2 size={34} stroke={1.4} />}
				title="No machine is here yet"
				action={
					operator && (
						<Button renderRoot={(props) => <Link to="/add" {...props} />} leftSection={<IconPlus size={16} />}>
							Add the first machine
						</Button>
					)
				}
			>
				{operator
					? "One command on a machine installs the agent and brings the machine here. Its backups stay ordinary restic repositories of your own."
					: "An operator or administrator adds the first one."}
			</Empty>
		</Card>
	);
}

interface MachinesProps {
	view: View;
	setView: SetView;
	operator: boolean;
	overview: Parameters<typeof Toolbar>[0]["overview"];
	again: (hostID: string, name?: string) => Promise<unknown>;
}

function Machines({ view, setView, operator, overview, again }: MachinesProps) {
	const listing = useStable(listingOf(view));
	const filter = useStable(filterOf(view));
	const list = useHostList(listing);
	const { data: grouping } = useQuery({
		...fleetQuery(filter, view.group),
		enabled: view.group !== undefined,
		placeholderData: (before) => before,
	});
	const [shown, setShown] = useColumns();
	const { ref, width } = useElementSize();
	const phone = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false }) ?? false;
	const columns = useMemo(() => fitting(shown, width || 1100), [shown, width]);

	const [selection, setSelection] = useState<Selection>(nobody);
	const [bulk, setBulk] = useState<BulkAction>();
	const anchor = useRef<string>(undefined);
	// What the filter hides must not be chosen without being seen.
	const [chosenOf, setChosenOf] = useState(filter);
	if (chosenOf !== filter) {
		setChosenOf(filter);
		setSelection(nobody);
	}
	const { hosts } = list;
	const click = useCallback(
		(index: number, shift: boolean) => {
			// Read now: the state that is set next depends on where the click before was.
			const from = anchor.current;
			anchor.current = hosts[index]?.id;
			setSelection((was) => clicked(was, hosts, index, from, shift));
		},
		[hosts],
	);
	const repeat = useCallback((host: Host) => void again(host.id), [again]);
	const clear = useCallback(() => setSelection(nobody), []);
	const chooseAll = useCallback((on: boolean) => setSelection(on ? everybody : nobody), []);

	useEffect(() => {
		// In the capture phase and from the beginning: a dialog that the key closes is still open then, and it is the
		// dialog's key.
		const onKey = (e: KeyboardEvent) => {
			if (e.key === "Escape" && !isTyping(e) && !document.querySelector("[role=dialog]")) clear();
		};
		window.addEventListener("keydown", onKey, true);
		return () => window.removeEventListener("keydown", onKey, true);
	}, [clear]);
	useFleetActions(operator, chooseAll, setBulk, selection !== nobody, setView);

	return (
		<>
			<Card flush label="Machines">
				<h2 className="rm-hidden">Machines</h2>
				<div ref={ref}>
					<Toolbar
						view={view}
						setView={setView}
						overview={overview}
						total={list.query.data && list.total}
						phone={phone}
						shown={shown}
						setShown={setShown}
					/>
					<Shown
						query={list.query}
						rows={10}
						isEmpty={(rows) => rows.hosts.length === 0}
						empty={
							<Empty
								title="No machine is like that"
								action={
									<Button variant="default" onClick={() => setView(noFilter)}>
										Clear the filters
									</Button>
								}
							>
								There are machines, but none matches all of the search and the filters.
							</Empty>
						}
					>
						{() => (
							<Table
								list={list}
								view={view}
								setView={setView}
								columns={columns}
								groups={grouping?.groups}
								phone={phone}
								operator={operator}
								selection={selection}
								click={click}
								chooseAll={chooseAll}
								again={repeat}
							/>
						)}
					</Shown>
					{list.moreError && <Failure error={list.moreError} retry={list.readMore} />}
				</div>
			</Card>
			{operator && (
				<BulkBar
					selection={selection}
					total={list.total}
					begin={setBulk}
					all={() => setSelection(everybody)}
					clear={clear}
				/>
			)}
			{bulk && (
				<Suspense fallback={<Loading rows={1} />}>
					<Bulk
						action={bulk}
						selection={selection}
						filter={filter}
						close={() => setBulk(undefined)}
						keep={(rest) => setSelection(rest.length > 0 ? choose(nobody, rest, true) : nobody)}
					/>
				</Suspense>
			)}
		</>
	);
}

/** What the palette offers while the fleet is open. */
function useFleetActions(
	operator: boolean,
	chooseAll: (on: boolean) => void,
	setBulk: (action: BulkAction) => void,
	some: boolean,
	setView: SetView,
) {
	const view = useRef(setView);
	useEffect(() => {
		view.current = setView;
	});
	const actions = useMemo<readonly Action[]>(
		() => [
			{
				id: "attention",
				label: "Show the machines that are not protected",
				run: () =>
					view.current({ ...noFilter, protection: ["failing", "at_risk", "never_backed_up"], sort: "protection" }),
			},
			{ id: "clear", label: "Clear the filters", run: () => view.current(noFilter) },
			...(operator ? [{ id: "all", label: "Choose all machines that match", run: () => chooseAll(true) }] : []),
			...(operator && some
				? ([
						{ id: "backup", label: "Back up the chosen machines", run: () => setBulk("backup") },
						{ id: "cancel", label: "Cancel the jobs of the chosen machines", run: () => setBulk("cancel") },
						{ id: "label", label: "Label the chosen machines", run: () => setBulk("label") },
						{ id: "revoke", label: "Revoke the chosen machines", run: () => setBulk("revoke") },
					] satisfies Action[])
				: []),
		],
		[operator, some, chooseAll, setBulk],
	);
	useActions(actions);
}

/** Orders a machine's last backup once more; where there is none, goes to where one is ordered. */
function useAgain() {
	const queries = useQueryClient();
	const navigate = useNavigate();
	return useCallback(
		async (hostID: string) => {
			try {
				const host = await readHost(hostID);
				if (!host.last_backup) {
					await navigate({ to: "/hosts/$hostId", params: { hostId: hostID } });
					return;
				}
				if (host.active_jobs.some((j) => j.kind === "backup")) {
					done(`${shortName(host)} is being backed up already.`);
					return;
				}
				await orderAgain(host.last_backup.job_id);
				done(
					host.status === "online"
						? `${shortName(host)} begins its backup.`
						: `The backup of ${shortName(host)} begins when the machine is back.`,
				);
				staleFleet(queries);
			} catch (e) {
				failed("The backup was not ordered", e);
			}
		},
		[queries, navigate],
	);
}

function shortName(host: Host): string {
	return visible(host.name.length > 60 ? `${host.name.slice(0, 60)}…` : host.name);
}

/** The same object as long as it says the same. */
function useStable<T>(value: T): T {
	const text = JSON.stringify(value);
	// biome-ignore lint/correctness/useExhaustiveDependencies: the text is the value
	return useMemo(() => value, [text]);
}

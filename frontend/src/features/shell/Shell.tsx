import { ActionIcon, Button, Menu, Tooltip, useMantineColorScheme } from "@mantine/core";
import {
	IconCalendarTime,
	IconDatabase,
	IconDeviceDesktop,
	IconHistory,
	IconKeyboard,
	IconLogout,
	IconMoon,
	IconPlus,
	IconSearch,
	IconServer2,
	IconSettings,
	IconSun,
	IconUser,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useLayoutEffect, useRef } from "react";
import { mayAs, meQuery, useSignOut } from "../../api/auth";
import { fleetQuery } from "../../api/fleet";
import { awaySince, serverVersion } from "../../api/link";
import { focusFilter, isTyping, modKey } from "../../lib/keys";
import { useSignal } from "../../lib/signal";
import { Ago } from "../../ui/Ago";
import { helpOpen, pageActions, paletteOpen, typedEarly } from "../../ui/actions";
import { failed } from "../../ui/notify";
import { problems } from "../../ui/Page";
import { Logo } from "./Logo";
import classes from "./Shell.module.css";

const loadPalette = () => import("../palette/Palette");
const Palette = lazy(loadPalette);
const Help = lazy(() => import("../help/Help"));

/** What surrounds every page: where one can go, who is signed in, and whether the server answers. */
export function Shell() {
	useKeys();
	useProblems();
	useEffect(() => {
		// There when its key is pressed: what is typed next must not be lost.
		const timer = setTimeout(() => void loadPalette().catch(() => {}), 1500);
		return () => clearTimeout(timer);
	}, []);
	const palette = useSignal(paletteOpen);
	const help = useSignal(helpOpen);
	const { data: me } = useQuery(meQuery);
	const attention = useSignal(problems);
	const operator = mayAs(me?.role, "operator");

	return (
		<div className={classes.shell}>
			<a href="#main" className={classes.skip}>
				Skip to the page
			</a>
			<aside className={classes.side}>
				<Link to="/" className={classes.brand} aria-label="restic-manager, to the fleet">
					<Logo />
					<span>restic-manager</span>
				</Link>
				<button type="button" className={classes.search} onClick={() => paletteOpen.set(true)}>
					<IconSearch size={15} aria-hidden />
					<span>Go to…</span>
					<kbd aria-hidden>{modKey} K</kbd>
				</button>
				<nav aria-label="Main" className={classes.nav}>
					<Entry to="/" exact icon={<IconServer2 size={17} />} label="Fleet" count={attention} />
					<Entry to="/policies" icon={<IconCalendarTime size={17} />} label="Policies" />
					<Entry to="/repositories" icon={<IconDatabase size={17} />} label="Repositories" />
					<Entry to="/jobs" icon={<IconHistory size={17} />} label="Jobs" />
					{operator && <Entry to="/add" icon={<IconPlus size={17} />} label="Add a machine" />}
					<Entry to="/settings" icon={<IconSettings size={17} />} label="Settings" />
				</nav>
				<div className={classes.foot}>
					<Account />
				</div>
			</aside>
			<main id="main" tabIndex={-1} className={classes.main}>
				<Notices />
				<Suspense>
					<Outlet />
				</Suspense>
			</main>
			<nav aria-label="Main" className={classes.tabs}>
				<Entry to="/" exact icon={<IconServer2 size={20} />} label="Fleet" count={attention} />
				<Entry to="/policies" icon={<IconCalendarTime size={20} />} label="Policies" />
				<Entry to="/repositories" icon={<IconDatabase size={20} />} label="Repositories" />
				<Entry to="/jobs" icon={<IconHistory size={20} />} label="Jobs" />
				{operator && <Entry to="/add" icon={<IconPlus size={20} />} label="Add" />}
				<Entry to="/settings" icon={<IconSettings size={20} />} label="Settings" />
			</nav>
			<Suspense>
				{palette && <Palette />}
				{help && <Help />}
			</Suspense>
		</div>
	);
}

interface EntryProps {
	to: "/" | "/policies" | "/repositories" | "/jobs" | "/add" | "/settings";
	exact?: boolean;
	icon: React.ReactNode;
	label: string;
	count?: number;
}

function Entry({ to, exact, icon, label, count }: EntryProps) {
	return (
		<Link
			to={to}
			className={classes.entry}
			activeOptions={{ exact: exact ?? false, includeSearch: false }}
			activeProps={{ "aria-current": "page" }}
		>
			{icon}
			<span>{label}</span>
			{count !== undefined && count > 0 && (
				<span className={classes.count}>
					{count > 999 ? "999+" : count}
					<span className="rm-hidden"> need attention</span>
				</span>
			)}
		</Link>
	);
}

function Account() {
	const { data: me } = useQuery(meQuery);
	const { colorScheme, setColorScheme } = useMantineColorScheme();
	const signOut = useSignOut();
	const navigate = useNavigate();
	return (
		<>
			<Menu position="top-start" width={220}>
				<Menu.Target>
					<button type="button" className={classes.account}>
						<span className={classes.avatar} aria-hidden>
							{(me?.username ?? "?").slice(0, 1).toUpperCase()}
						</span>
						<span className={classes.who}>
							<bdi className="rm-cut">{me?.username ?? "…"}</bdi>
							<small>{me?.role}</small>
						</span>
					</button>
				</Menu.Target>
				<Menu.Dropdown>
					<Menu.Item
						leftSection={<IconUser size={15} />}
						onClick={() => void navigate({ to: "/settings/$section", params: { section: "account" } })}
					>
						Account
					</Menu.Item>
					<Menu.Item leftSection={<IconKeyboard size={15} />} onClick={() => helpOpen.set(true)}>
						Keyboard
					</Menu.Item>
					<Menu.Divider />
					<Menu.Label>Appearance</Menu.Label>
					{(
						[
							["light", "Light", <IconSun key="i" size={15} />],
							["dark", "Dark", <IconMoon key="i" size={15} />],
							["auto", "As the system", <IconDeviceDesktop key="i" size={15} />],
						] as const
					).map(([scheme, label, icon]) => (
						<Menu.Item
							key={scheme}
							leftSection={icon}
							role="menuitemradio"
							aria-checked={colorScheme === scheme}
							rightSection={colorScheme === scheme ? "✓" : null}
							onClick={() => setColorScheme(scheme)}
						>
							{label}
						</Menu.Item>
					))}
					<Menu.Divider />
					<Menu.Item
						leftSection={<IconLogout size={15} />}
						onClick={() => signOut.mutate(undefined, { onError: (e) => failed("Not signed out", e) })}
					>
						Sign out
					</Menu.Item>
				</Menu.Dropdown>
			</Menu>
			<Tooltip label="Keyboard and help">
				<ActionIcon aria-label="Keyboard and help" onClick={() => helpOpen.set(true)}>
					<IconKeyboard size={17} />
				</ActionIcon>
			</Tooltip>
		</>
	);
}

function Notices() {
	const away = useSignal(awaySince);
	const version = useSignal(serverVersion);
	return (
		<>
			{away !== undefined && (
				<div role="alert" className={classes.notice} data-tone="warn">
					<span>
						The server has not answered since <Ago at={new Date(away).toISOString()} />. Backups go on without it; this
						page tries again by itself and shows what it knew.
					</span>
				</div>
			)}
			{version && version.loaded !== version.now && (
				<div role="status" className={classes.notice} data-tone="info">
					<span>
						The server is now version <b>{version.now}</b>. This page is of {version.loaded}.
					</span>
					<Button size="compact-xs" variant="default" onClick={() => location.reload()}>
						Load the new one
					</Button>
				</div>
			)}
		</>
	);
}

/** Keeps count of the machines that need somebody, whichever page is open. */
function useProblems() {
	const { data } = useQuery(fleetQuery());
	const n = data?.attention_total ?? 0;
	useEffect(() => {
		problems.set(n);
		return () => problems.set(0);
	}, [n]);
}

/** The keys that work on every page. "g" and a letter go to a page. */
function useKeys() {
	const navigate = useNavigate();
	const goAt = useRef(0);
	// There with the page that names them: a key pressed before the effects of its first frame would be lost.
	useLayoutEffect(() => {
		function onKey(e: KeyboardEvent) {
			if ((e.metaKey || e.ctrlKey) && !e.altKey && e.key.toLowerCase() === "k") {
				e.preventDefault();
				typedEarly.set("");
				paletteOpen.set(!paletteOpen.get());
				return;
			}
			if (e.metaKey || e.ctrlKey || e.altKey || isTyping(e) || e.defaultPrevented) return;
			if (paletteOpen.get() && e.key.length === 1) {
				typedEarly.set(typedEarly.get() + e.key);
				e.preventDefault();
				return;
			}
			if (document.querySelector("[role=dialog]")) return;
			const going = Date.now() - goAt.current < 1200;
			goAt.current = 0;
			if (going) {
				const to = (
					{ f: "/", j: "/jobs", a: "/add", p: "/policies", r: "/repositories", c: "/calendar", s: "/settings" } as const
				)[e.key];
				if (to) {
					e.preventDefault();
					void navigate({ to });
				}
				return;
			}
			if (e.key === "g") goAt.current = Date.now();
			else if (e.key === "?") helpOpen.set(true);
			else if (e.key === "/") {
				if (focusFilter()) e.preventDefault();
			} else {
				const action = pageActions.get().find((a) => a.hotkey === e.key);
				if (action) {
					e.preventDefault();
					action.run();
				}
			}
		}
		window.addEventListener("keydown", onKey);
		return () => window.removeEventListener("keydown", onKey);
	}, [navigate]);
}

import { NativeSelect } from "@mantine/core";
import {
	IconDeviceLaptop,
	IconHistory,
	IconKey,
	IconPalette,
	IconServer,
	IconTicket,
	IconUser,
	IconUsers,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ComponentType } from "react";
import { mayAs, meQuery } from "../../api/auth";
import type { Role } from "../../api/types";
import type { TokenState } from "../../lib/tokens";
import { Card, Page } from "../../ui/Page";
import { Empty, Loading } from "../../ui/States";
import { Account, Appearance } from "./Account";
import { APIKeys } from "./APIKeys";
import { Audit, type AuditSearch } from "./Audit";
import { Operators } from "./Operators";
import { roleWords } from "./roles";
import { Server } from "./Server";
import { Sessions } from "./Sessions";
import classes from "./Settings.module.css";
import { Tokens } from "./Tokens";

const sections = [
	{ id: "account", name: "Account", icon: IconUser, least: "viewer" },
	{ id: "appearance", name: "Appearance", icon: IconPalette, least: "viewer" },
	{ id: "sessions", name: "Sessions", icon: IconDeviceLaptop, least: "viewer" },
	{ id: "tokens", name: "Enrollment tokens", icon: IconTicket, least: "operator" },
	{ id: "operators", name: "Operators", icon: IconUsers, least: "administrator" },
	{ id: "keys", name: "API keys", icon: IconKey, least: "administrator" },
	{ id: "audit", name: "Audit log", icon: IconHistory, least: "administrator" },
	{ id: "server", name: "Server", icon: IconServer, least: "viewer" },
] as const satisfies readonly { id: string; name: string; icon: ComponentType<{ size?: number }>; least: Role }[];

interface Props {
	section: string;
	search: AuditSearch & { state?: TokenState };
	set: (search: AuditSearch & { state?: TokenState }) => void;
	go: (section: string) => void;
}

export function Settings({ section, search, set, go }: Props) {
	const { data: me } = useQuery(meQuery);
	const shown = sections.filter((s) => mayAs(me?.role, s.least) || s.id === section);
	const current = sections.find((s) => s.id === section);
	return (
		<Page title={current ? `${current.name} · Settings` : "Settings"} heading="Settings">
			<div className={classes.layout} data-wide={section === "audit" || undefined}>
				<div className={classes.side}>
					<nav aria-label="Settings" className={classes.nav}>
						{shown.map((s) => (
							<Link
								key={s.id}
								to="/settings/$section"
								params={{ section: s.id }}
								className={classes.entry}
								activeOptions={{ includeSearch: false }}
								activeProps={{ "aria-current": "page" }}
							>
								<s.icon size={16} />
								{s.name}
							</Link>
						))}
					</nav>
					<NativeSelect
						className={classes.select}
						size="md"
						aria-label="Section of the settings"
						data={shown.map((s) => ({ value: s.id, label: s.name }))}
						value={current?.id}
						onChange={(e) => go(e.currentTarget.value)}
					/>
				</div>
				<div className={classes.content}>
					<h2 className="rm-hidden">{current?.name ?? "Unknown section"}</h2>
					{!me ? (
						<Loading />
					) : !current ? (
						<Empty title="There is no such section">
							<Link to="/settings/$section" params={{ section: "account" }}>
								To your account
							</Link>
						</Empty>
					) : !mayAs(me.role, current.least) ? (
						<Card>
							<Empty title={`${current.name} is for ${current.least === "operator" ? "operators" : "administrators"}`}>
								Your role is {roleWords[me.role].name.toLowerCase()}. An administrator can change it.
							</Empty>
						</Card>
					) : (
						<Section id={current.id} search={search} set={set} />
					)}
				</div>
			</div>
		</Page>
	);
}

function Section({ id, search, set }: { id: (typeof sections)[number]["id"] } & Pick<Props, "search" | "set">) {
	switch (id) {
		case "account":
			return <Account />;
		case "appearance":
			return <Appearance />;
		case "sessions":
			return <Sessions />;
		case "tokens":
			return <Tokens state={search.state} filter={(state) => set({ state })} />;
		case "operators":
			return <Operators />;
		case "keys":
			return <APIKeys />;
		case "audit":
			return <Audit search={search} set={set} />;
		case "server":
			return <Server />;
	}
}

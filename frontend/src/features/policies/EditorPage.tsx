import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { mayAs, meQuery } from "../../api/auth";
import { importedQuery } from "../../api/imports";
import { type Policy, policyQuery } from "../../api/policies";
import { Foreign } from "../../ui/Foreign";
import { Page } from "../../ui/Page";
import { Empty, Loading, Shown } from "../../ui/States";
import { Editor } from "./Editor";
import { Crumb } from "./PolicyPage";

/** A new policy, which may begin as a draft that was imported; with an id, the one that is edited. */
export function EditorPage({
	id,
	imported,
	saved,
}: {
	id?: string;
	imported?: string;
	saved: (policy: Policy) => void;
}) {
	const { data: me } = useQuery(meQuery);
	const { data: read } = useQuery(importedQuery);
	const draft = imported === undefined ? undefined : read?.policies.find((p) => p.name === imported);
	const query = useQuery({ ...policyQuery(id ?? ""), enabled: id !== undefined });
	const title = id === undefined ? "New policy" : `Edit ${query.data?.name ?? "the policy"}`;
	return (
		<Page
			narrow
			title={title}
			heading={<Foreign>{title}</Foreign>}
			crumbs={
				<>
					<Crumb />
					{id !== undefined && query.data && (
						<>
							<span aria-hidden>/</span>
							<Link to="/policies/$policyId" params={{ policyId: id }} className="rm-link rm-cut">
								<Foreign>{query.data.name}</Foreign>
							</Link>
						</>
					)}
				</>
			}
		>
			{!me ? (
				<Loading />
			) : !mayAs(me.role, "operator") ? (
				<Empty title="Operators set policies up">You can look at everything, but not change it.</Empty>
			) : id === undefined ? (
				<Editor
					draft={draft}
					saved={saved}
					leave={
						<Button
							variant="default"
							renderRoot={(props) => <Link to={draft ? "/policies/import" : "/policies"} {...props} />}
						>
							Leave it
						</Button>
					}
				/>
			) : (
				<Shown query={query} rows={10}>
					{(p) => (
						<Editor
							key={p.id}
							policy={p}
							saved={saved}
							leave={
								<Button
									variant="default"
									renderRoot={(props) => <Link to="/policies/$policyId" params={{ policyId: p.id }} {...props} />}
								>
									Leave it
								</Button>
							}
						/>
					)}
				</Shown>
			)}
		</Page>
	);
}

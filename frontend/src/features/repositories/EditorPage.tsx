import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { mayAs, meQuery } from "../../api/auth";
import { type Repository, repositoryQuery } from "../../api/repositories";
import { Foreign } from "../../ui/Foreign";
import { Page } from "../../ui/Page";
import { Empty, Loading, Shown } from "../../ui/States";
import { LeaveLink, RepositoryEditor } from "./Form";
import { Crumb } from "./RepositoryPage";

/** A new repository; with an id, the one that is changed. */
export function EditorPage({ id, saved }: { id?: string; saved: (repository: Repository) => void }) {
	const { data: me } = useQuery(meQuery);
	const query = useQuery({ ...repositoryQuery(id ?? ""), enabled: id !== undefined });
	const title = id === undefined ? "New repository" : `Change ${query.data?.name ?? "the repository"}`;
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
							<Link to="/repositories/$repositoryId" params={{ repositoryId: id }} className="rm-link rm-cut">
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
				<Empty title="Operators set repositories up">You can look at everything, but not change it.</Empty>
			) : id === undefined ? (
				<RepositoryEditor saved={saved} leave={<LeaveLink to="/repositories" />} />
			) : (
				<Shown query={query} rows={10}>
					{(r) => (
						// What is typed stays when the repository is read again.
						<RepositoryEditor
							key={r.id}
							repository={r}
							saved={saved}
							leave={<LeaveLink to="/repositories/$repositoryId" id={r.id} />}
						/>
					)}
				</Shown>
			)}
		</Page>
	);
}

import { Button } from "@mantine/core";

interface Props {
	query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
	label?: string;
}

/** Asks for the next page of a list; nothing when there is none. */
export function Older({ query, label = "Show older ones" }: Props) {
	if (!query.hasNextPage) return null;
	return (
		<Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
			{label}
		</Button>
	);
}

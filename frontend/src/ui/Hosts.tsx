import { MultiSelect, Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { findHostsQuery } from "../api/fleet";
import { hostQuery } from "../api/hosts";

interface Common {
	label: string;
	description?: string;
	placeholder?: string;
	error?: string;
}

/** The machines whose names hold what is typed; the server decides which. */
function useFound(search: string) {
	const [settled] = useDebouncedValue(search.trim(), 150);
	return (
		useQuery({ ...findHostsQuery(settled, 20), placeholderData: keepPreviousData, refetchInterval: false }).data ?? []
	);
}

/** Chooses one machine by its name; "" is none. */
export function HostSelect({
	value,
	set,
	clearable,
	...props
}: Common & { value: string; set: (id: string) => void; clearable?: boolean }) {
	const [search, setSearch] = useState("");
	const chosen = useQuery({ ...hostQuery(value), enabled: value !== "", refetchInterval: false }).data;
	const found = useFound(chosen && search === chosen.name ? "" : search);
	const shown = chosen && !found.some((h) => h.id === chosen.id) ? [chosen, ...found] : found;
	return (
		<Select
			{...props}
			searchable
			clearable={clearable}
			clearButtonProps={{ "aria-label": "None" }}
			allowDeselect={false}
			nothingFoundMessage="No machine is called that"
			data={shown.map((h) => ({ value: h.id, label: h.name }))}
			filter={({ options }) => options}
			searchValue={search}
			onSearchChange={setSearch}
			value={value || null}
			onChange={(id) => set(id ?? "")}
		/>
	);
}

/** Chooses machines by their names. */
export function HostsSelect({ value, set, ...props }: Common & { value: string[]; set: (ids: string[]) => void }) {
	const [search, setSearch] = useState("");
	const found = useFound(search);
	const known = useQueries({
		queries: value.map((id) => ({ ...hostQuery(id), refetchInterval: false as const, staleTime: 300_000 })),
	});
	const names = new Map(found.map((h) => [h.id, h.name]));
	value.forEach((id, i) => {
		if (!names.has(id)) names.set(id, known[i]?.data?.name ?? (known[i]?.error ? `${id.slice(0, 8)} (gone)` : "…"));
	});
	return (
		<MultiSelect
			{...props}
			searchable
			clearable
			clearButtonProps={{ "aria-label": "None" }}
			hidePickedOptions
			nothingFoundMessage="No machine is called that"
			data={[...names].map(([id, name]) => ({ value: id, label: name }))}
			filter={({ options }) => options}
			searchValue={search}
			onSearchChange={setSearch}
			value={value}
			onChange={set}
		/>
	);
}

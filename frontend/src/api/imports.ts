import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { client, got } from "./client";
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Imported = Schemas["Imported"];
export type ImportedPolicy = Schemas["ImportedPolicy"];
export type ImportKind = Schemas["ImportPolicies"]["kind"];

/** The server takes no larger file. */
export const largestImport = 512 * 1024;

const key = ["imported"] as const;

/** What was read last, for as long as the page is open: the drafts are saved one after another. */
export const importedQuery = queryOptions<Imported | null>({
	queryKey: key,
	queryFn: () => null,
	enabled: false, // nothing reads it anew
	initialData: null,
	gcTime: Number.POSITIVE_INFINITY,
});

/** The file as base64: it may hold line ends and other characters that no text of the API holds. */
function base64(file: Blob): Promise<string> {
	return new Promise((resolve, reject) => {
		const reader = new FileReader();
		reader.onload = () => resolve(String(reader.result).replace(/^[^,]*,/, ""));
		reader.onerror = () => reject(new Error("The file cannot be read. Choose it again."));
		reader.readAsDataURL(file);
	});
}

/** Has the server read a configuration. Nothing is written there. */
export function useImport() {
	const queries = useQueryClient();
	return useMutation({
		mutationFn: async ({ kind, file, zone }: { kind: ImportKind; file: File; zone: string }) =>
			got(
				client.POST("/api/policies/import", {
					body: { kind, name: file.name.slice(-255), file: await base64(file), zone },
				}),
			),
		gcTime: 0, // the file may hold secrets
		onSuccess: (imported) => queries.setQueryData(key, imported),
	});
}

/** Forgets what was read. */
export function useForgetImport() {
	const queries = useQueryClient();
	return () => queries.setQueryData(key, null);
}

import { acts, visible } from "../lib/escape";

/** Text that came from a machine: shown to the letter, with what would act on a screen written as an escape. */
export function Foreign({ children, mono, cut }: { children: string; mono?: boolean; cut?: boolean }) {
	const text = acts(children) ? visible(children) : children;
	return (
		<bdi className={`rm-foreign${mono ? " rm-mono" : ""}${cut ? " rm-cut" : ""}`} title={cut ? text : undefined}>
			{text}
		</bdi>
	);
}

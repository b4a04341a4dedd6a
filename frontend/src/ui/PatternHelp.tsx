import classes from "./Estimate.module.css";

const examples: readonly (readonly [pattern: string, meaning: string])[] = [
	["*.tmp", "every file and folder whose name ends with .tmp, anywhere"],
	["node_modules", "everything of that name, anywhere, with all that is in it"],
	["/home/*/.cache", "the folder .cache of each user; * stands for part of one name"],
	["/srv/**/tmp", "each tmp below /srv, however deep; ** stands for any folders, or none"],
	["build/out", "each out that lies directly in a folder build"],
	["[a-c]?.log", "a1.log, bx.log: one of these letters, then any one character"],
];

/** How the patterns of what is left out work. */
export function PatternHelp() {
	return (
		<details className={classes.help}>
			<summary>How patterns work</summary>
			<ul>
				{examples.map(([pattern, meaning]) => (
					<li key={pattern}>
						<code>{pattern}</code>
						<span>{meaning}</span>
					</li>
				))}
			</ul>
			<p>
				A pattern that begins with / is meant from the root on; any other fits anywhere. What lies in a folder that is
				out is out too. Capital and small letters differ. A \ before *, ?, [ or \ takes the character as it is.
			</p>
		</details>
	);
}

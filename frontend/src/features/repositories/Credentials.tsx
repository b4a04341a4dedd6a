import { Button, NativeSelect, TextInput } from "@mantine/core";
import { IconX } from "@tabler/icons-react";
import { envName, isSecretEnv, repositoryEnv, usualEnv } from "../../lib/repository";
import { SecretInput } from "../../ui/SecretInput";
import classes from "./Repositories.module.css";

interface Props {
	label: string;
	about: string;
	/** The scheme of the place: which keys it takes. */
	scheme: string;
	env: Record<string, string>;
	set: (env: Record<string, string>) => void;
	error?: string;
}

/** What the storage asks for, by the keys that its kind takes. */
export function Credentials({ label, about, scheme, env, set, error }: Props) {
	const usual = usualEnv(scheme);
	const more = Object.keys(env).filter((k) => !usual.includes(k));
	const left = (repositoryEnv[scheme] ?? []).filter((k) => !usual.includes(k) && !more.includes(k));
	return (
		// biome-ignore lint/a11y/useSemanticElements: a fieldset brings a look of its own
		<div role="group" aria-label={label} className={classes.group}>
			<div>
				<h3>{label}</h3>
				<p>{about}</p>
			</div>
			<div className={classes.pair}>
				{[...usual, ...more].map((key) => {
					const Input = isSecretEnv(key) ? SecretInput : TextInput;
					const named = envName(key) !== key;
					return (
						<Input
							key={key}
							label={
								<>
									{envName(key)} {named && <code className={classes.key}>{key}</code>}
									{more.includes(key) && (
										<button
											type="button"
											className={classes.without}
											aria-label={`Without ${key}`}
											onClick={() => set(Object.fromEntries(Object.entries(env).filter(([k]) => k !== key)))}
										>
											<IconX size={12} aria-hidden />
										</button>
									)}
								</>
							}
							aria-label={`${label}: ${envName(key)}`}
							{...(isSecretEnv(key) && { shows: `Show: ${envName(key)}` })}
							autoComplete="off"
							spellCheck={false}
							autoCapitalize="none"
							value={env[key] ?? ""}
							onChange={(e: React.ChangeEvent<HTMLInputElement>) => set({ ...env, [key]: e.currentTarget.value })}
						/>
					);
				})}
			</div>
			{left.length > 0 && (
				<NativeSelect
					size="xs"
					className={classes.more}
					aria-label={`${label}: another one`}
					data={[{ value: "", label: "Another credential…" }, ...left]}
					value=""
					onChange={(e) => e.currentTarget.value && set({ ...env, [e.currentTarget.value]: "" })}
				/>
			)}
			{error && (
				<p className={classes.wrong} role="alert">
					{error}
				</p>
			)}
		</div>
	);
}

/** Credentials that are set: their names, and a way to set them anew. */
export function Kept({ keys, what, anew }: { keys: readonly string[]; what: string; anew: () => void }) {
	return (
		<div className={classes.kept}>
			<span>
				{keys.length > 0 ? (
					<>
						{what}: <code className={classes.key}>{keys.join(", ")}</code>
					</>
				) : (
					`${what}: none`
				)}
			</span>
			<Button size="compact-xs" variant="default" onClick={anew}>
				Set anew…
			</Button>
		</div>
	);
}

import { NativeSelect, TextInput } from "@mantine/core";
import type { BackupField, BackupForm } from "../../lib/backupForm";
import classes from "./Policies.module.css";

interface Props {
	form: BackupForm;
	set: <F extends BackupField>(field: F, value: BackupForm[F]) => void;
	error: (f: string) => string | undefined;
}

/** How much a backup gives way to what else a machine does. */
export function LimitFields({ form, set, error }: Props) {
	return (
		<div className={classes.fields}>
			<div className={classes.pair}>
				<TextInput
					label="Upload limit"
					description="KiB a second; empty: as fast as it goes"
					inputMode="numeric"
					autoComplete="off"
					value={form.uploadLimit}
					error={error("uploadLimit")}
					onChange={(e) => set("uploadLimit", e.currentTarget.value)}
				/>
				<TextInput
					label="Download limit"
					description="KiB a second, of what it reads from the repository"
					inputMode="numeric"
					autoComplete="off"
					value={form.downloadLimit}
					error={error("downloadLimit")}
					onChange={(e) => set("downloadLimit", e.currentTarget.value)}
				/>
				<TextInput
					label="Nice"
					description="1 to 19: the more, the later its turn at the CPU; empty: the agent's own"
					inputMode="numeric"
					autoComplete="off"
					maxLength={2}
					value={form.nice}
					error={error("nice")}
					onChange={(e) => set("nice", e.currentTarget.value)}
				/>
				<NativeSelect
					label="Disks"
					description="Its turn at reading the machine's disks"
					data={[
						{ value: "", label: "The agent's own" },
						{ value: "low", label: "Low: after everybody's normal work" },
						{ value: "idle", label: "Idle: only when nobody else reads or writes" },
					]}
					value={form.ioClass}
					error={error("ioClass")}
					onChange={(e) => set("ioClass", e.currentTarget.value as BackupForm["ioClass"])}
				/>
			</div>
			<p className={classes.about}>
				Where a machine's guard.yaml limits more, that holds. The agent of a package runs at nice 10 and low already.
			</p>
		</div>
	);
}

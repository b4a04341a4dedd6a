import type { PolicyForm } from "./form";

export interface Preset {
	id: string;
	name: string;
	about: string;
	apply: (f: PolicyForm) => PolicyForm;
}

const none = { last: "", hourly: "", daily: "", weekly: "", monthly: "", yearly: "", within_days: "" };

const anytime = { windows: [], skipOnBattery: false, skipOnMetered: false };

/** Starting points: what is nearly always right, to be looked at and changed. */
export const presets: readonly Preset[] = [
	{
		id: "server",
		name: "Server",
		about: "Configuration, homes and data, every night",
		apply: (f) => ({
			...f,
			name: f.name || "Servers",
			backup: {
				...f.backup,
				paths: "/etc\n/home\n/root\n/srv\n/usr/local\n/var",
				excludes:
					"/var/cache\n/var/tmp\n/var/lib/docker/overlay2\n/var/lib/containers\n/var/lib/restic-manager-agent\n*.tmp",
				excludeCaches: true,
				oneFileSystem: false,
			},
			cron: "0 2 * * *",
			spread: 3600,
			late: 0,
			catchUp: true,
			...anytime,
			keep: { ...none, daily: "14", weekly: "8", monthly: "12" },
		}),
	},
	{
		id: "database",
		name: "Database host",
		about: "The dumps, every few hours; live files of a database do not restore",
		apply: (f) => ({
			...f,
			name: f.name || "Database dumps",
			backup: {
				...f.backup,
				paths: "/etc\n/var/backups",
				excludes: "/var/backups/apt.*\n/var/backups/dpkg.*\n*.partial\n*.tmp",
				excludeCaches: true,
				oneFileSystem: false,
			},
			cron: "30 */4 * * *",
			spread: 600,
			late: 0,
			catchUp: true,
			...anytime,
			keep: { ...none, hourly: "24", daily: "14", weekly: "8", monthly: "12" },
		}),
	},
	{
		id: "laptop",
		name: "Laptop",
		about: "Homes, whenever it is on and plugged in; what was due while it slept is caught up once",
		apply: (f) => ({
			...f,
			name: f.name || "Laptops",
			backup: {
				...f.backup,
				paths: "/home",
				excludes: "/home/*/.cache\n/home/*/.local/share/Trash\n/home/*/Downloads\nnode_modules\n.venv\n*.iso",
				excludeCaches: true,
				oneFileSystem: true,
			},
			cron: "15 */4 * * *",
			spread: 900,
			late: 0,
			catchUp: true,
			windows: [],
			skipOnBattery: true,
			skipOnMetered: true,
			keep: { ...none, daily: "14", weekly: "8", monthly: "6" },
		}),
	},
];

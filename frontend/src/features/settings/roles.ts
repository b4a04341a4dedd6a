import type { Role } from "../../api/types";

export const roleWords: Record<Role, { name: string; about: string }> = {
	viewer: { name: "Viewer", about: "Sees everything, changes nothing." },
	operator: { name: "Operator", about: "Adds machines, orders and stops jobs, names repositories." },
	administrator: { name: "Administrator", about: "May do everything, with operators and the audit log." },
};

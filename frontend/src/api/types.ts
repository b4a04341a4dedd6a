import type { components } from "./schema";

type Schemas = components["schemas"];

export type Host = Schemas["Host"];
export type HostStatus = Host["status"];
export type ActiveJob = Schemas["ActiveJob"];
export type Job = Schemas["Job"];
export type JobState = Job["state"];
export type JobKind = Job["kind"];
export type Snapshot = Schemas["Snapshot"];
export type LogLine = Schemas["LogLine"];
export type LogPage = Schemas["LogPage"];
export type Me = Schemas["Me"];
export type Role = Me["role"];
export type BackupSpec = Schemas["BackupSpec"];
export type EstimateSpec = Schemas["EstimateSpec"];
export type Estimate = Schemas["Estimate"];
export type RestoreSpec = Schemas["RestoreSpec"];
export type EnrollmentToken = Schemas["EnrollmentToken"];
export type AuditEntry = Schemas["AuditEntry"];
export type OperatorAccount = Schemas["OperatorAccount"];
export type OrderJob = Schemas["OrderJob"];

/** The states in which a job has not ended. */
export const openStates: readonly JobState[] = ["queued", "accepted", "running"];

export function isOpen(state: JobState): boolean {
	return openStates.includes(state);
}

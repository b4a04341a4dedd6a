/** The environment keys a repository may set, by the scheme of its location: the closed list of the server. */
export const repositoryEnv: Record<string, readonly string[]> = {
	rest: ["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"],
	s3: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"],
	b2: ["B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"],
	azure: ["AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "AZURE_ENDPOINT_SUFFIX"],
	gs: ["GOOGLE_PROJECT_ID", "GOOGLE_ACCESS_TOKEN"],
	swift: [
		"OS_AUTH_URL",
		"OS_REGION_NAME",
		"OS_USERNAME",
		"OS_USER_ID",
		"OS_PASSWORD",
		"OS_TENANT_ID",
		"OS_TENANT_NAME",
		"OS_USER_DOMAIN_NAME",
		"OS_USER_DOMAIN_ID",
		"OS_PROJECT_NAME",
		"OS_PROJECT_DOMAIN_NAME",
		"OS_PROJECT_DOMAIN_ID",
		"OS_TRUST_ID",
		"OS_APPLICATION_CREDENTIAL_ID",
		"OS_APPLICATION_CREDENTIAL_NAME",
		"OS_APPLICATION_CREDENTIAL_SECRET",
		"OS_STORAGE_URL",
		"OS_AUTH_TOKEN",
		"ST_AUTH",
		"ST_USER",
		"ST_KEY",
	],
};

/** What nearly everybody needs of them. */
const usual: Record<string, readonly string[]> = {
	rest: ["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"],
	s3: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
	b2: ["B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"],
	azure: ["AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"],
	gs: ["GOOGLE_PROJECT_ID", "GOOGLE_ACCESS_TOKEN"],
	swift: ["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"],
};

/** The scheme of a location as restic reads it: an absolute path is local; "" is none it knows. */
export function schemeOf(url: string): string {
	const u = url.trim();
	if (u.startsWith("/")) return "local";
	const scheme = /^([a-z0-9]+):/.exec(u)?.[1] ?? "";
	return scheme in repositoryEnv || scheme === "local" || scheme === "sftp" || scheme === "rclone" ? scheme : "";
}

/** The keys a location of this scheme usually needs. */
export function usualEnv(scheme: string): readonly string[] {
	return usual[scheme] ?? [];
}

/** Whether a value of this key is a secret, not to be shown while it is typed. */
export function isSecretEnv(key: string): boolean {
	return /SECRET|PASSWORD|_KEY$|TOKEN|SAS$/.test(key);
}

const envNames: Record<string, string> = {
	RESTIC_REST_USERNAME: "User",
	RESTIC_REST_PASSWORD: "Password",
	AWS_ACCESS_KEY_ID: "Access key",
	AWS_SECRET_ACCESS_KEY: "Secret key",
	AWS_SESSION_TOKEN: "Session token",
	AWS_DEFAULT_REGION: "Region",
	B2_ACCOUNT_ID: "Key's id",
	B2_ACCOUNT_KEY: "Application key",
	AZURE_ACCOUNT_NAME: "Account",
	AZURE_ACCOUNT_KEY: "Account's key",
	AZURE_ACCOUNT_SAS: "SAS token",
	AZURE_ENDPOINT_SUFFIX: "Endpoint's suffix",
	GOOGLE_PROJECT_ID: "Project",
	GOOGLE_ACCESS_TOKEN: "Access token",
	OS_AUTH_URL: "Sign-in address",
	OS_USERNAME: "User",
	OS_PASSWORD: "Password",
	OS_REGION_NAME: "Region",
	OS_PROJECT_NAME: "Project",
};

/** What a key of the environment is to people; the key itself where it has no other name. */
export function envName(key: string): string {
	return envNames[key] ?? key;
}

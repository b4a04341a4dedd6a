// Before the first paint: a dark page must not flash white. A file of its own, since the policy allows no inline script.
(() => {
	let scheme = "auto";
	try {
		scheme = localStorage.getItem("restic-manager-scheme") ?? "auto";
	} catch {
		// storage is closed to this page: the system's scheme
	}
	const dark = scheme === "dark" || (scheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
	document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();

import { useEffect, useState } from "react";

/** Whole seconds until then (ms), counted down; 0 afterwards and without a time. */
export function useSecondsLeft(until: number | undefined): number {
	const [now, setNow] = useState(() => Date.now());
	const [counted, setCounted] = useState(until);
	if (counted !== until) {
		// What is shown first counts from now, not from when this was last looked at: an alert is read out once.
		setCounted(until);
		setNow(Date.now());
	}
	useEffect(() => {
		if (until === undefined) return;
		const timer = setInterval(() => {
			setNow(Date.now());
			if (Date.now() >= until) clearInterval(timer);
		}, 1000);
		return () => clearInterval(timer);
	}, [until]);
	return until === undefined ? 0 : Math.max(0, Math.ceil((until - now) / 1000));
}

/** As a clock shows it: 59:07, 1:00:00; from two days on in days and hours. */
export function timeLeft(seconds: number): string {
	if (seconds >= 2 * 86400) return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
	const two = (n: number) => String(n).padStart(2, "0");
	const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)];
	return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

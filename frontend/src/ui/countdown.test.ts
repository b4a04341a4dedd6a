import { act, renderHook } from "@testing-library/react";
import { useLayoutEffect } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { useSecondsLeft } from "./countdown";

beforeEach(() => {
	vi.useFakeTimers();
});
afterEach(() => {
	vi.useRealTimers();
});

test("seconds are counted from when the time is given, down to none", () => {
	const shown: number[] = [];
	const { rerender } = renderHook(
		({ until }: { until?: number }) => {
			const left = useSecondsLeft(until);
			useLayoutEffect(() => void shown.push(left));
		},
		{ initialProps: {} },
	);
	vi.advanceTimersByTime(90_500); // nothing to count yet
	rerender({ until: Date.now() + 3000 });
	for (let i = 0; i < 5; i++) act(() => void vi.advanceTimersByTime(1000));
	rerender({ until: Date.now() + 2000 });
	expect(shown.filter((n, i) => n !== shown[i - 1])).toEqual([0, 3, 2, 1, 0, 2]);
});

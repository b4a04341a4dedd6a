export function Logo({ size = 24 }: { size?: number }) {
	return (
		<svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
			<rect width="32" height="32" rx="8" fill="#3f56d3" />
			<path d="M9 20.5a7 7 0 1 0 1.6-8.6" fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round" />
			<path
				d="M9.4 8.2v4.4h4.4"
				fill="none"
				stroke="#fff"
				strokeWidth="2.6"
				strokeLinecap="round"
				strokeLinejoin="round"
			/>
			<circle cx="16" cy="17" r="2.2" fill="#7be0b2" />
		</svg>
	);
}

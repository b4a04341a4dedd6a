import { type CSSVariablesResolver, createTheme } from "@mantine/core";

// An indigo of our own: step 7 carries white text with 6.1:1, step 4 stands on dark surfaces with 5.6:1.
const indigo = [
	"#eef1ff",
	"#dbe1fb",
	"#b5c0f2",
	"#8c9dea",
	"#8396f0",
	"#5a70dd",
	"#4a61d9",
	"#3f56d3",
	"#344abf",
	"#2b3fa6",
] as const;

// Cool greys for the dark scheme: texts, then borders (4, 5), inputs and menus (6), surfaces (7) and the page (8, 9).
const dark = [
	"#e4e6ec",
	"#c7ccd8",
	"#9aa1b1",
	"#6f7787",
	"#363c46",
	"#2b3038",
	"#191c21",
	"#121519",
	"#0f1114",
	"#0b0d10",
] as const;

export const theme = createTheme({
	primaryColor: "indigo",
	primaryShade: { light: 7, dark: 7 },
	colors: { indigo, dark },
	fontFamily: '"Inter Variable", system-ui, sans-serif',
	fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, monospace',
	fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.25rem" },
	lineHeights: { xs: "1.4", sm: "1.45", md: "1.5", lg: "1.5", xl: "1.4" },
	defaultRadius: "md",
	radius: { xs: "3px", sm: "5px", md: "7px", lg: "10px", xl: "14px" },
	cursorType: "pointer",
	respectReducedMotion: true,
	headings: {
		fontWeight: "600",
		sizes: {
			h1: { fontSize: "1.25rem", lineHeight: "1.35" },
			h2: { fontSize: "1rem", lineHeight: "1.4" },
			h3: { fontSize: "0.875rem", lineHeight: "1.4" },
		},
	},
	// Plain objects: each component's own extend would bring all of them to the first page.
	components: {
		ActionIcon: { defaultProps: { variant: "subtle", color: "gray" } },
		Badge: { defaultProps: { tt: "none", fw: 500, radius: "sm" } },
		Button: { defaultProps: { size: "sm", fw: 550 } },
		Menu: { defaultProps: { shadow: "md", position: "bottom-end" } },
		Modal: { defaultProps: { centered: true, closeButtonProps: { "aria-label": "Close" } } },
		Paper: { defaultProps: { withBorder: true, radius: "lg" } },
		PasswordInput: { defaultProps: { size: "sm" } },
		Select: { defaultProps: { size: "sm" } },
		Switch: { defaultProps: { withThumbIndicator: false } },
		Tabs: { defaultProps: { keepMounted: false } },
		Textarea: { defaultProps: { size: "sm" } },
		TextInput: { defaultProps: { size: "sm" } },
		Tooltip: {
			defaultProps: { openDelay: 250, withArrow: false, events: { hover: true, focus: true, touch: true } },
		},
	},
});

// Mantine's own dimmed and placeholder greys fall short of 4.5:1 (WCAG 2.2, 1.4.3).
export const variables: CSSVariablesResolver = () => ({
	variables: {},
	light: {
		"--mantine-color-body": "#ffffff",
		"--mantine-color-text": "#1b1e27",
		"--mantine-color-dimmed": "#5b6172",
		"--mantine-color-placeholder": "#6a7081",
		"--mantine-color-default-border": "#dcdfe6",
		"--mantine-color-error": "#b3261e",
		"--mantine-color-gray-light-color": "#3d4352",
		"--mantine-color-indigo-light-color": "#2b3fa6",
		"--mantine-color-red-light-color": "#a3211a",
		"--mantine-color-red-outline": "#b3261e",
		"--mantine-color-red-filled": "#c02b22",
		"--mantine-color-red-filled-hover": "#a3211a",
	},
	dark: {
		"--mantine-color-body": "#0f1114",
		"--mantine-color-text": "#e4e6ec",
		"--mantine-color-dimmed": "#9aa1b1",
		"--mantine-color-placeholder": "#8b92a3",
		"--mantine-color-default": "#191c21",
		"--mantine-color-default-hover": "#20242b",
		"--mantine-color-default-border": "#2b3038",
		"--mantine-color-error": "#ff9a92",
		"--mantine-color-gray-light-color": "#c7ccd8",
		"--mantine-color-indigo-light-color": "#b5c0f2",
		"--mantine-color-red-light-color": "#ff9a92",
		"--mantine-color-red-outline": "#ff9a92",
		"--mantine-color-red-filled": "#b3261e",
		"--mantine-color-red-filled-hover": "#9c2019",
		"--mantine-color-anchor": "#9fb0ff",
	},
});

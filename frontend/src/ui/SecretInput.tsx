import { PasswordInput, type PasswordInputProps } from "@mantine/core";

/** A password's field. What shows it is reached by the keyboard too, and an error is told of the field itself. */
export function SecretInput({ shows = "Show the password", ...props }: PasswordInputProps & { shows?: string }) {
	return (
		<PasswordInput
			aria-invalid={props.error ? true : undefined}
			visibilityToggleFocusable
			visibilityToggleButtonProps={{ "aria-label": shows }}
			spellCheck={false}
			autoCapitalize="none"
			{...props}
		/>
	);
}

/** An error as the server tells it: fields by their place in the body, or a sentence that begins with the field's name. */
interface Refused {
	message: string;
	status: number;
	fields: Readonly<Record<string, string>>;
}

/**
 * What is wrong with which of a form's fields. The domain's own checks begin with the field ("paths: … is not absolute"),
 * those of the body's form carry its place ("spec.paths"). What belongs to no field of the form is in `rest`.
 */
export function fieldErrors<F extends string>(
	error: unknown,
	names: Readonly<Record<string, F>>,
): { fields: Partial<Record<F, string>>; rest?: string } {
	if (error === undefined || error === null) return { fields: {} };
	const fields: Partial<Record<F, string>> = {};
	if (!isRefused(error)) return { fields, rest: error instanceof Error ? error.message : String(error) };
	const rest: string[] = [];
	const places = Object.entries(error.fields);
	for (const [place, message] of places) {
		const f = names[nameIn(place, names)];
		if (f) fields[f] ??= message;
		else rest.push(place ? `${place}: ${message}` : message);
	}
	if (places.length === 0) {
		const m = /^([a-z_][a-z_.]*): (.+)$/s.exec(error.message);
		const f = m?.[1] ? names[nameIn(m[1], names)] : undefined;
		if (f && m?.[2] && error.status < 500) fields[f] = m[2];
		else rest.push(error.message);
	}
	return { fields, rest: rest.length > 0 ? rest.join("; ") : undefined };
}

function nameIn(place: string, names: Readonly<Record<string, string>>): string {
	const parts = place.replace(/\[\d+\]/g, "").split(".");
	return parts.findLast((p) => Object.hasOwn(names, p)) ?? place;
}

function isRefused(error: unknown): error is Refused {
	return error instanceof Error && "fields" in error && "status" in error;
}

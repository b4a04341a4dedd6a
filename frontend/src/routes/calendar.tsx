import { createLazyRoute } from "@tanstack/react-router";
import { Calendar } from "../features/calendar/Calendar";

export const route = createLazyRoute("/calendar")({ component: Calendar });

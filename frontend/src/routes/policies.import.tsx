import { createLazyRoute } from "@tanstack/react-router";
import { ImportPage } from "../features/policies/Import";

export const route = createLazyRoute("/policies/import")({ component: ImportPage });

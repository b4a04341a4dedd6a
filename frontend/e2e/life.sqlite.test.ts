import { describe } from "vitest";
import { life } from "./life";

describe("a machine's life, on SQLite", () => life("sqlite"));

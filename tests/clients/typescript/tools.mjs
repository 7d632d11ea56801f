// The tool that each library runs, and an answer's shape, in the forms that they ask for.
import { z } from "zod";

export const place = z.object({ city: z.string(), days: z.number().int() });
export const person = z.object({ name: z.string(), age: z.number().int() });
export const description = "The weather of the next days.";
export const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};

export const weather = ({ city, days }) => `sunny in ${city} for ${days} days`;

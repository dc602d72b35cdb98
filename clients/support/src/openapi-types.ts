/** A schema of OpenAPI, as far as the server uses them. */
interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  allOf?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  description?: string;
}

/** The TypeScript of all schemas that an OpenAPI document names. */
export function typesOf(document: { components: { schemas: Record<string, Schema> } }): string {
  const declared = Object.entries(document.components.schemas)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, schema]) => `${comment(schema, "")}export type ${name} = ${typeOf(schema, "")};\n`);
  return `// Made from the server's /openapi.json by \`npm run generate\`; not edited by hand.\n\n${declared.join("\n")}`;
}

function typeOf(schema: Schema, indent: string): string {
  if (schema.$ref) return schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.allOf) return joined(schema.allOf.filter(isMeant), " & ", indent);
  if (schema.oneOf) return joined(schema.oneOf, " | ", indent);
  if (schema.anyOf) return joined(schema.anyOf, " | ", indent);
  const types = [schema.type ?? "unknown"].flat();
  return types.map((type) => named(type, schema, indent)).join(" | ");
}

/** A part of `allOf` that only carries a default says nothing about the type. */
function isMeant(schema: Schema): boolean {
  return Object.keys(schema).some((key) => !["type", "default", "description"].includes(key)) ||
    schema.type !== "object";
}

function joined(parts: Schema[], operator: string, indent: string): string {
  const texts = parts.map((part) => typeOf(part, indent));
  return texts.length === 1 ? (texts[0] ?? "unknown") : texts.map((text) => `(${text})`).join(operator);
}

function named(type: string, schema: Schema, indent: string): string {
  if (type === "integer") return "number";
  if (type === "array") return `(${typeOf(schema.items ?? {}, indent)})[]`;
  if (type !== "object") return type;
  if (schema.properties) return members(schema, indent);
  const values = schema.additionalProperties;
  return `Record<string, ${typeof values === "object" ? typeOf(values, indent) : "unknown"}>`;
}

function members(schema: Schema, indent: string): string {
  const inner = `${indent}  `;
  const lines = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const mark = schema.required?.includes(name) ? "" : "?";
    return `${comment(property, inner)}${inner}${name}${mark}: ${typeOf(property, inner)};\n`;
  });
  return `{\n${lines.join("")}${indent}}${schema.additionalProperties === true ? " & Record<string, unknown>" : ""}`;
}

function comment(schema: Schema, indent: string): string {
  return schema.description ? `${indent}/** ${schema.description.replaceAll(/\s+/g, " ")} */\n` : "";
}

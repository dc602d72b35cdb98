/** One event of a stream. A comment, which only shows that the stream lives, has no name. */
export interface StreamEvent {
  name: string;
  data: string;
  id: string;
  /** The pause before another stream that the server asked for with this event. */
  retryMs?: number;
}

/** More than this without the end of a line is not a stream of events. */
const LINE_MAX_CHARACTERS = 64 * 1024;

/** Reads events as they come. Throws if the stream breaks, or if nothing comes for `quietMaxMs`. */
export async function* events(body: ReadableStream<Uint8Array>, quietMaxMs: number): AsyncGenerator<StreamEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  let event: StreamEvent = { name: "", data: "", id: "" };
  try {
    for (;;) {
      const { done, value } = await withinMs(reader.read(), quietMaxMs);
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop() ?? "";
      if (rest.length > LINE_MAX_CHARACTERS) throw new Error("not a stream of events");
      for (const line of lines) {
        if (line === "" || line.startsWith(":")) {
          yield event;
          event = { name: "", data: "", id: event.id };
        } else {
          const [, field, text = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
          if (field === "event") event.name = text;
          if (field === "data") event.data += text;
          if (field === "id") event.id = text;
          if (field === "retry" && /^\d+$/.test(text)) event.retryMs = Number(text);
        }
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

async function withinMs<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error("the stream is silent")), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

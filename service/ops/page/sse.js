// Server-sent events of a response: yields {data} for an event, {comment} for a comment.
// Field "event" is left out: the APIs that are used here repeat it in the data.

export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    while (true) {
      const {done, value} = await reader.read().catch((error) => {
        if (error.name === 'AbortError') throw error;
        return {done: true};  // cut off: whoever reads sees what is missing
      });
      if (done) return;
      text += value;
      // An event ends with an empty line. A "\r" at the end may be half of a "\r\n".
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      let begin = 0;
      for (let i = 0; i < lines.length - 1; ++i) {
        if (lines[i] !== '') continue;
        yield* oneEvent(lines.slice(begin, i));
        begin = i + 1;
      }
      text = lines.slice(begin).join('\n');
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function* oneEvent(lines) {
  const data = [];
  for (const line of lines) {
    if (line.startsWith(':')) yield {comment: line.slice(1).trim()};
    const match = /^data:? ?(.*)$/s.exec(line);
    if (match) data.push(match[1]);
  }
  if (data.length) yield {data: data.join('\n')};
}

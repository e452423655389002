// The server's two answers: what the network is, and what it makes of a picture.

export async function describeNetwork() {
  return answer(await fetch("network"));
}

// Returns the answer with its pictures as Blobs; throws an Error with a sentence for the visitor.
export async function segment(file, uncertainty, network) {
  if (file.size > network.max_bytes) {
    throw new Error(`The file is larger than ${network.max_bytes / 1e6} MB; save the picture smaller.`);
  }
  const response = await fetch(`segment?uncertainty=${uncertainty}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  }).catch(() => {
    throw new Error("The server does not answer; look whether it still runs.");
  });
  const found = await answer(response);
  found.input = blob(found.input, "image/jpeg");
  found.mask = blob(found.mask, "image/png");
  found.uncertainty = found.uncertainty && blob(found.uncertainty, "image/png");
  return found;
}

async function answer(response) {
  const values = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(values.error ?? `The server answers with status ${response.status}.`);
  return values;
}

function blob(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type });
}

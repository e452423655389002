// The camera and videos: whenever the network is free, it gets the frame that is shown just now.

const byId = (id) => document.getElementById(id);

export function hasCamera() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

// Has frames segmented by `segment` and shown by `show`; tells of failures by `fail`.
// Returns { openCamera, openVideo, refresh, close }.
export function setUpLive({ segment, show, say, fail }) {
  const video = byId("video");
  let run = 0; // counts what was opened, so that what is left of the one before notices
  let url = null;
  let time = null; // of the frame that was segmented

  // Has the frame segmented again.
  function refresh() {
    time = null;
  }

  function close() {
    run++;
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.pause();
    video.srcObject = null;
    video.removeAttribute("src");
    video.load();
    if (url) URL.revokeObjectURL(url);
    url = null;
    byId("live").hidden = true;
  }

  async function openCamera() {
    const mine = ++run;
    say("The browser asks for the camera …");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      if (mine !== run) return;
      say("");
      return fail(troubleWithCamera(error));
    }
    if (mine !== run) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    video.controls = false;
    await follow("camera");
  }

  async function openVideo(file, name) {
    run++;
    url = URL.createObjectURL(file);
    video.src = url;
    video.controls = true;
    await follow(name);
  }

  async function follow(name) {
    const mine = run;
    // It may play before it has a picture that can be taken.
    const shown = new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    try {
      await video.play();
    } catch (error) {
      if (mine !== run) return;
      close();
      say("");
      return fail(
        error.name === "NotSupportedError"
          ? `${name} is a video that this browser cannot play; give an MP4 (H.264) or WebM file.`
          : `${name} cannot be played (${error.message}).`,
      );
    }
    if (mine !== run) return;
    if (!video.videoWidth) {
      close();
      say("");
      return fail(`${name} has no pictures that this browser can play; give an MP4 (H.264) or WebM file.`);
    }
    byId("live").hidden = false;
    tellPause();
    byId("pause").focus();
    refresh();
    say(`Segmenting ${name}.`);
    await shown;
    for (let count = 0; mine === run; ) {
      // The browser gives none while the page is not to be seen, which then costs nothing.
      await new Promise(requestAnimationFrame);
      if (video.currentTime === time || video.seeking || mine !== run) continue;
      const start = performance.now();
      try {
        time = video.currentTime;
        const found = await segment(await createImageBitmap(video));
        if (mine !== run) return;
        show(name, found, `, ${(1000 / (performance.now() - start)).toFixed(1)} frames a second`, count++ > 0);
      } catch (error) {
        if (mine !== run) return;
        close();
        say("");
        return fail(`${name}: ${error.message}`);
      }
    }
  }

  function tellPause() {
    byId("pause").textContent = video.paused ? "Continue" : "Pause";
  }

  function pause() {
    if (video.paused) video.play();
    else video.pause();
  }

  function stop() {
    close();
    say("Stopped.");
    byId("camera").focus();
  }

  byId("pause").addEventListener("click", pause);
  byId("stop").addEventListener("click", stop);
  video.addEventListener("play", tellPause);
  video.addEventListener("pause", tellPause);
  document.addEventListener("keydown", (event) => {
    if (byId("live").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") stop();
    else if (event.key === "p") pause();
  });
  return { openCamera, openVideo, refresh, close };
}

function troubleWithCamera(error) {
  const reasons = {
    NotAllowedError: "The camera was refused; allow it for this site in the browser, or choose a picture.",
    NotFoundError: "This computer has no camera that the browser finds; choose a picture or a video.",
    NotReadableError: "The camera is used by another program; close that, and try again.",
  };
  return reasons[error.name] ?? `The camera cannot be used (${error.message}); choose a picture or a video.`;
}

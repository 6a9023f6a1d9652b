// The page of unhaze serve: sends one picture to /v1/dehaze and shows it before and after.
// Nothing is loaded from elsewhere, and pictures go to the service that this page came from only.

const find = (id) => document.getElementById(id);
const drop = find("drop"), file = find("file"), compare = find("compare"), split = find("split");
const strength = find("strength"), model = find("model"), token = find("token"), status = find("status");
const download = find("download"), another = find("another");

let picture = null; // the File that was chosen
let result = null; // address of the restored picture
let request = null; // what is under way, so that a newer one can stop it
let wait = 0;

function tell(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

function headers(accept) {
  const found = { Accept: accept };
  if (token.value) found.Authorization = `Bearer ${token.value}`;
  return found;
}

/** The sentence that the service says about an error; asks for the token where one is needed. */
async function sentence(response) {
  if (response.status === 401) {
    find("token-row").hidden = false;
    token.focus();
    return token.value ? "This token is not the right one." : "This service asks for a token.";
  }
  try {
    return (await response.json()).detail;
  } catch {
    return `The service answered with ${response.status}.`;
  }
}

async function loadModels() {
  const response = await fetch("v1/models", { headers: headers("application/json") });
  if (!response.ok) {
    tell(await sentence(response), true);
    return;
  }
  const { models } = await response.json();
  model.replaceChildren(...models.map((each) => {
    const option = new Option(each.name, each.name, each.is_default, each.is_default);
    option.title = each.summary;
    return option;
  }));
  tell("");
}

function forget(address) {
  if (address) URL.revokeObjectURL(address);
}

function take(chosen) {
  if (!chosen) return;
  picture = chosen;
  forget(find("before").src);
  find("before").src = URL.createObjectURL(picture);
  another.disabled = false;
  dehaze();
}

function begin() {
  request?.abort();
  picture = null;
  compare.hidden = true;
  drop.hidden = false;
  another.disabled = true;
  download.removeAttribute("href");
  download.setAttribute("aria-disabled", "true");
  file.value = "";
  file.focus();
  tell("");
}

async function dehaze() {
  if (!picture) return;
  request?.abort();
  const mine = request = new AbortController();
  tell("At work …");
  const options = new URLSearchParams({ strength: strength.value });
  if (model.value) options.set("model", model.value);
  try {
    const response = await fetch(`v1/dehaze?${options}`, {
      method: "POST",
      body: picture,
      headers: { ...headers("image/*"), "Content-Type": "application/octet-stream" },
      signal: mine.signal,
    });
    if (!response.ok) {
      const said = await sentence(response);
      if (mine === request) tell(said, true);
      return;
    }
    const blob = await response.blob();
    if (mine !== request) return;
    show(blob, response.headers);
  } catch (error) {
    if (error.name !== "AbortError" && mine === request) tell("The service cannot be reached; is it running?", true);
  }
}

function show(blob, answer) {
  forget(result);
  result = URL.createObjectURL(blob);
  find("after").src = result;
  const suffix = /filename="dehazed(\.\w+)"/.exec(answer.get("Content-Disposition") ?? "")?.[1] ?? "";
  download.href = result;
  download.download = picture.name.replace(/\.[^.]*$/, "") + "-dehazed" + suffix;
  download.setAttribute("aria-disabled", "false");
  drop.hidden = true;
  compare.hidden = false;
  const density = Number(answer.get("X-Unhaze-Density"));
  const alone = answer.get("X-Unhaze-Left-Alone");
  tell(`Haze: ${density.toFixed(2)} (0 clear, 1 hazy, 2 dense fog).` + (alone ? " The picture looks clear and was left almost as it was." : ""));
}

for (const id of ["before", "after"]) {
  find(id).addEventListener("error", () => {
    tell("The picture is restored, but this browser cannot show its format; download it.");
  });
}
file.addEventListener("change", () => take(file.files[0]));
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
split.addEventListener("input", () => compare.style.setProperty("--split", `${split.value}%`));
strength.addEventListener("input", () => {
  find("strength-value").value = Number(strength.value).toFixed(2);
  clearTimeout(wait);
  wait = setTimeout(dehaze, 250);
});
model.addEventListener("change", dehaze);
another.addEventListener("click", begin);
find("controls").addEventListener("submit", async (event) => {
  event.preventDefault();
  await loadModels();
  dehaze();
});

loadModels().catch(() => tell("The service cannot be reached; is it running?", true));

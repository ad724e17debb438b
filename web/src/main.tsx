import { render } from "preact";

import { App } from "./app";
import { refresh, flushAll } from "./chat/session";
import { onChange } from "./chat/storage";
import { loadModels } from "./gateway/models";
import "./style/tokens.css";
import "./style/base.css";
import "./style/chat.css";
import "./style/markdown.css";
import "./style/status.css";

const place = document.getElementById("app");
if (!place) throw new Error("the page has no place for the app");
render(<App />, place);
void refresh();
onChange(() => void refresh());
void loadModels();
addEventListener("pagehide", flushAll);

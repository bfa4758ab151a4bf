// A page with Express and `compression`: the HTML that Wirewise rendered once, from the file in the first argument.
import { readFileSync } from 'node:fs';
import compression from 'compression';
import express from 'express';
import { announce } from './feed.mjs';

const page = readFileSync(process.argv[2], 'utf8');
const app = express();
app.use(compression());
app.get('/ticker', (_request, answer) => answer.type('html').send(page));
const server = app.listen(0, '127.0.0.1', () => announce(server.address().port));
